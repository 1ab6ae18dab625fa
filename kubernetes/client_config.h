// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/invocation.h"

namespace vmlane::kubernetes {

// PEM text, given as it is or as a file that may be replaced while it is used. Both empty: none.
struct Pem {
  std::string data;
  std::filesystem::path file;
  bool empty() const { return data.empty() && file.empty(); }
};

// Where the API server is and how the two prove themselves to each other.
struct ClientConfig {
  std::string server;  // "https://192.0.2.1:6443", no slash at its end
  Pem authority;       // who signs the server's certificate; empty: the system's authorities
  Pem certificate;     // the client's, with `key`
  Pem key;
  std::string token;
  std::filesystem::path token_file;  // read again as it is replaced; goes before `token`
  std::string origin;                // for errors: "kubeconfig /etc/kubernetes/agent.conf"
};

// A kubeconfig file's current context, or the one of that name. Relative paths are from the file's directory.
// TLS is always verified, and no program is run for credentials: what asks for the one or the other
// (insecure-skip-tls-verify, exec, auth-provider) is refused, as are passwords, proxies and impersonation.
// Errors are Code::kInvalidConfig naming file and key, kDecode, kIo, kNotFound for a file that is not there.
Result<ClientConfig> read_kubeconfig(const std::filesystem::path& file, const std::string& context = {});

// What the kubelet gives each pod: the variables KUBERNETES_SERVICE_HOST and _PORT and the files in
// `service_account`. Code::kNotAvailable outside of a pod.
Result<ClientConfig> in_cluster_config(
    const Invocation& invocation,
    const std::filesystem::path& service_account = "/var/run/secrets/kubernetes.io/serviceaccount");

}  // namespace vmlane::kubernetes
