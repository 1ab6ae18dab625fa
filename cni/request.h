// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cni/result.h"
#include "cni/version.h"
#include "core/address.h"
#include "core/error.h"
#include "core/invocation.h"
#include "core/json.h"
#include "core/record.h"

namespace vmlane::cni {

// Operations of the CNI specification 1.1.0.
enum class Command { kAdd, kDel, kCheck, kGc, kStatus, kVersion };
std::string_view to_string(Command command);

// K=V;K=V of CNI_ARGS. Keys nobody knows are kept and ignored.
using CniArgs = std::map<std::string, std::string, std::less<>>;
// A pair without exactly one '=' is Code::kBadEnvironment naming it; empty pairs are skipped.
Result<CniArgs> parse_cni_args(std::string_view text);

// One call of a plugin, validated as far as the specification goes. What an operation does not require may be
// empty.
struct Request {
  Command command = Command::kVersion;
  AttachmentKey key;
  std::string netns;     // path; may be empty for DEL
  std::string cni_args;  // as it came
  CniArgs args;
  std::string cni_path;
  Version version;  // of the config, and so of the answer
  Json config;      // all of stdin
  std::optional<CniResult> prev_result;
  Invocation invocation;
};

// runtimeConfig.bandwidth: rates in bits per second, bursts in bits, as seen from the workload. A rate of 0
// is no limit.
struct Bandwidth {
  std::uint64_t ingress_rate = 0;
  std::uint64_t ingress_burst = 0;
  std::uint64_t egress_rate = 0;
  std::uint64_t egress_burst = 0;
};

// What a runtime may ask of the NIC that the workload sees, wherever it says so.
struct NicRequest {
  std::optional<MacAddress> mac;  // runtimeConfig.mac > args.cni.mac > CNI_ARGS MAC > mac
  std::string device_id;          // runtimeConfig.deviceID > deviceID > pciBusID
  std::string device_info_file;   // runtimeConfig.CNIDeviceInfoFile
  ResultDns dns;                  // runtimeConfig.dns (servers, searches, options), else config's dns
  Bandwidth bandwidth;
  std::string nad;  // args.cni.nad, given by vmlane-multus
};
// Errors are Code::kInvalidConfig (CNI_ARGS: kBadEnvironment) and name key and value.
Result<NicRequest> parse_nic_request(const Request& request);

// The attachments that a GC call calls valid: `cni.dev/valid-attachments`, else `cni.dev/attachments`; no
// value when neither key is there, which says nothing about any attachment. The network of each key is the
// request's.
Result<std::optional<std::vector<AttachmentKey>>> parse_valid_attachments(const Request& request);

// Keys of a plugin's config that the specification or a runtime owns; a lane does not report them as unknown.
bool is_common_config_key(std::string_view key);

}  // namespace vmlane::cni
