// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "core/json.h"
#include "tests/support/host.h"
#include "tests/vm/guest.h"

// A guest that is a node: a distribution's kernel with bridges that filter VLANs, VLAN devices, dummies, and
// in it the plugins of this build. For what the machine that runs the tests cannot do.
namespace vmlane::test {

// Where the guest has the plugins and the program that lists kernel programs (tests/tools).
inline constexpr const char* kPluginDirectory = "/opt/cni/bin";
inline constexpr const char* kVerifiedInstructions = "verified-instructions";

// What a plugin in the guest said.
struct GuestOutcome {
  GuestResult process;
  Json document;  // null when standard output is no JSON

  bool ok() const { return process.status == 0; }
  int code() const { return document.is_object() ? document.value("code", -1) : -1; }
  std::string text() const {
    return document.is_object() ? document.value("msg", "") + "\n" + document.value("details", "") : "";
  }
};
std::ostream& operator<<(std::ostream& out, const GuestOutcome& outcome);

// Boots one guest for each test: a boot takes half a minute where it is emulated, so a test takes one topic.
// Pods are network namespaces of the guest, made by make_guest_pod().
class NodeGuest : public HostFixture {
 protected:
  static void SetUpTestSuite();
  void SetUp() override;
  void TearDown() override;
  // Series of the kernel it boots.
  virtual std::string kernel() const { return kNodeKernel; }
  // What the kernel is told besides, for what is decided when it boots.
  virtual std::string more_kernel_arguments() const { return {}; }

  // Shell text in the guest.
  GuestResult guest(const std::string& command, unsigned limit = 60);
  // The same, and the test fails when it does; its standard output.
  std::string in_guest(const std::string& command);
  // `ip -j`, `bridge -j` in the guest, "" or a pod's name before it.
  Json guest_json(const std::string& pod, const std::string& command);

  void make_guest_pod(const std::string& name);
  // Whether `pod` ("" for the node) reaches an address; `failing` tries once, else for some seconds.
  bool reaches(const std::string& pod, const std::string& address);
  bool is_cut_off(const std::string& pod, const std::string& address);

  // The configuration of network "blue" on bridge br1 with `more` over it; null removes a key.
  static Json config(const Json& more);
  static Json host_local(const std::string& subnet);
  GuestOutcome call(const std::string& command, const std::string& pod, const Json& conf,
                    const std::string& plugin = "vmlane-veth", const std::string& more_environment = "");
  GuestOutcome add(const std::string& pod, const Json& conf, const std::string& plugin = "vmlane-veth") {
    return call("ADD", pod, conf, plugin);
  }
  GuestOutcome del(const std::string& pod, const Json& conf, const std::string& plugin = "vmlane-veth") {
    return call("DEL", pod, conf, plugin);
  }
  GuestOutcome check(const std::string& pod, const Json& conf, const Json& prev_result,
                     const std::string& plugin = "vmlane-veth");

  // VLANs of a port or bridge, as `bridge vlan show` has them: "100 PVID Egress Untagged", "20" ...
  std::vector<std::string> vlans_of(const std::string& link);
  // The attachment's host link.
  std::string host_link(const GuestOutcome& added);
  // Links, addresses, VLANs and files of the node, for comparison.
  std::string node_snapshot();

 private:
  void boot();

  lab::ProcessRef qemu_;
  std::optional<lab::GuestChannel> channel_;
};

}  // namespace vmlane::test

#define ASSERT_GUEST_OK(outcome) ASSERT_TRUE((outcome).ok()) << (outcome)
#define EXPECT_GUEST_OK(outcome) EXPECT_TRUE((outcome).ok()) << (outcome)
