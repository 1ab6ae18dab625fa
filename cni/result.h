// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cni/version.h"
#include "core/address.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::cni {

// The result of ADD (CNI specification, "ADD Success"), one shape for all versions from 0.3.0 on. What a
// version lacks is left out when it is written for that version.
struct ResultInterface {
  std::string name;
  std::string mac;
  std::optional<std::uint32_t> mtu;  // 1.1
  std::string sandbox;               // namespace path for a container's interface, empty for a host's
  std::string socket_path;           // 1.1
  std::string pci_id;                // 1.1
};

struct ResultIp {
  IpPrefix address;
  std::optional<IpAddress> gateway;
  std::optional<std::size_t> interface;  // index into interfaces
};

struct ResultRoute {
  IpPrefix destination;
  std::optional<IpAddress> gateway;
  std::optional<std::uint32_t> mtu;  // this and the rest: 1.1
  std::optional<std::uint32_t> advmss;
  std::optional<std::uint32_t> priority;
  std::optional<std::uint32_t> table;
  std::optional<std::uint8_t> scope;
};

struct ResultDns {
  std::vector<std::string> nameservers;
  std::string domain;
  std::vector<std::string> search;
  std::vector<std::string> options;

  bool empty() const { return nameservers.empty() && domain.empty() && search.empty() && options.empty(); }
  Json to_json() const;
  // `what` names the object in errors.
  static Result<ResultDns> from_json(const Json& json, std::string_view what);
};

struct CniResult {
  std::vector<ResultInterface> interfaces;
  std::vector<ResultIp> ips;
  std::vector<ResultRoute> routes;
  ResultDns dns;

  Json to_json(const Version& version) const;
  // Reads a result of its own cniVersion, or of `fallback` when it names none (libcni writes prevResult's
  // version under another spelling, so the key is matched without regard to case). Errors are Code::kDecode
  // and start with `what` ("prevResult").
  static Result<CniResult> from_json(const Json& json, const Version& fallback, std::string_view what);
};

}  // namespace vmlane::cni
