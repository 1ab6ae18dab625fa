// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/record.h"

// What a VM's cloud-init is told about its network, made of the VM's attachment records: the files of a
// NoCloud seed. Network configuration follows cloud-init's version 2, its subset of netplan's.
namespace vmlane::cloud_init {

// The files of a seed. All end in a newline, but for user-data that was given.
struct Seed {
  std::string network_config;
  std::string meta_data;
  std::string user_data;

  // File names with their content, in the order in which they are shown.
  std::array<std::pair<std::string_view, const std::string*>, 3> files() const {
    return {{{"network-config", &network_config}, {"meta-data", &meta_data}, {"user-data", &user_data}}};
  }
};

struct SeedOptions {
  // Whether the guest renames its NICs to the interfaces' names in the pod.
  bool set_names = true;
  // Whether an IPv6 default route is told as "gateway6", which is deprecated, where that can tell it:
  // cloud-init before 23.1 makes ::/64 of the route ::/0 for every renderer but netplan.
  bool gateway6 = false;
  std::string hostname;                       // empty: the first label of the VM's name, or of the pod's
  std::string instance_id;                    // empty: made of who the VM is
  std::vector<std::string> ssh_keys;          // lines of authorized_keys
  std::optional<std::string> user_data;       // instead of one that we make; check_user_data() passed
  std::optional<std::string> network_config;  // instead of one that we make
};

// All files for the NICs of one VM. Errors (Code::kInvalidConfig, Code::kDecode, Code::kConflict) name the
// attachment or the option at fault.
Result<Seed> make_seed(const std::vector<AttachmentRecord>& nics, const SeedOptions& options);

// Network configuration of the NICs, each found by its MAC and called by its interface's name in the pod. One
// that IPAM gave addresses is static, with the routes, name servers and search domains of its CNI result; the
// others use DHCP and router advertisements. Two of one MAC or name are Code::kConflict.
Result<Json> network_config(const std::vector<AttachmentRecord>& nics, const SeedOptions& options);

// instance-id and local-hostname. The id is the same as long as the workload is: for a VM its namespace and
// name, whatever pod it runs in; for a pod also its uid.
Result<Json> meta_data(const std::vector<AttachmentRecord>& nics, const SeedOptions& options);

// Refuses text whose beginning says nothing to cloud-init, which would ignore it. `what` names its source.
Result<> check_user_data(std::string_view text, const std::string& what);

// The public keys of a file like authorized_keys, without comments and empty lines. Code::kInvalidConfig
// naming the line of what is no public key, and for a file without any.
Result<std::vector<std::string>> parse_ssh_keys(std::string_view text, const std::string& what);

}  // namespace vmlane::cloud_init
