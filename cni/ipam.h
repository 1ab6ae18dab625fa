// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "cni/result.h"
#include "core/error.h"
#include "core/exec.h"
#include "core/json.h"
#include "core/log.h"
#include "core/node_config.h"
#include "core/record.h"

namespace vmlane::cni {

// Address management delegated to the plugin `ipam.type` (CNI specification, "delegated plugins"): found in
// CNI_PATH, run with the caller's environment and the entire config. A plugin that does not know the config's
// version is asked again in the newest one both know.
class Ipam {
 public:
  // What a delegate is called with; DEL of a record uses what the record holds, not what today's caller says.
  struct Caller {
    AttachmentKey key;
    std::string netns;
    std::string cni_args;
    std::string cni_path;
    Json config;
    Environment env;        // of our own process: PATH and what else a delegate may look at
    std::string version;    // CNI version the delegate is known to understand; empty: the config's
    InheritedFd lock = -1;  // the attachment's, held until the delegate has ended
  };
  // A delegate at work on ADD or DEL. Destroyed before it is finished it is killed.
  struct Pending {
    Caller caller;
    std::string command;
    std::filesystem::path plugin;
    RunningPlugin running;
  };
  struct Allocation {
    CniResult result;     // addresses, routes and dns; at least one address
    std::string version;  // to be kept for the DEL: Caller::version
  };

  // `config` without "ipam" or with `"ipam": {}` means that there is no address management; a type that is no
  // plain name is an error.
  static Result<Ipam> parse(const Json& config);
  static Caller caller_of(const AttachmentRecord& record, const Environment& env);

  bool enabled() const { return !type_.empty(); }
  const std::string& type() const { return type_; }

  // Whether the delegate's program can be found; the error names it and the directories searched.
  Result<> find(const Caller& caller) const;
  Result<Pending> start(const Caller& caller, std::string_view command) const;
  // When the delegate fails, what it may have taken is released.
  Result<Allocation> finish_add(Pending pending) const;
  // Success as well when there is nothing to release.
  Result<> finish_del(Pending pending) const;
  Result<Allocation> add(const Caller& caller) const;
  Result<> del(const Caller& caller) const;
  Result<> check(const Caller& caller) const;
  // Forwarded only to delegates that know CNI 1.1; the others have no such operation.
  Result<> gc(const Caller& caller) const;
  Result<> status(const Caller& caller) const;

 private:
  // Standard output; sets the caller's version when another was needed.
  Result<std::string> finish(Pending& pending) const;
  Result<std::string> call(const Caller& caller, std::string_view command) const;
  Result<> call_if_known(const Caller& caller, std::string_view command) const;
  std::string type_;
};

}  // namespace vmlane::cni
