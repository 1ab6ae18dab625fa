// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/client_config.h"

#include <array>
#include <utility>

#include "core/base64.h"
#include "core/files.h"
#include "core/json.h"
#include "manifests/yaml.h"

namespace vmlane::kubernetes {

namespace fs = std::filesystem;

namespace {

struct Refusal {
  std::string_view key;
  std::string_view what_to_do;
};
constexpr std::array<Refusal, 4> kRefusedOfCluster = {{
    {"insecure-skip-tls-verify", "the server's certificate is always verified: give certificate-authority"},
    {"proxy-url", "the API server is reached directly"},
    {"disable-compression", "leave it out: nothing is compressed"},
    {"tls-server-name", "the certificate is verified for the host in server: give one that it names"},
}};
constexpr std::array<Refusal, 9> kRefusedOfUser = {{
    {"exec", "no program is run for credentials: give client-certificate and client-key, or tokenFile"},
    {"auth-provider",
     "no program is run for credentials: give client-certificate and client-key, or tokenFile"},
    {"username", "passwords are not supported: give client-certificate and client-key, or tokenFile"},
    {"password", "passwords are not supported: give client-certificate and client-key, or tokenFile"},
    {"as", "no other user is impersonated: give the credentials of the one that is meant"},
    {"as-uid", "no other user is impersonated: give the credentials of the one that is meant"},
    {"as-groups", "no other user is impersonated: give the credentials of the one that is meant"},
    {"as-user-extra", "no other user is impersonated: give the credentials of the one that is meant"},
    {"impersonate", "no other user is impersonated: give the credentials of the one that is meant"},
}};

// One kubeconfig file while it is read.
class Kubeconfig {
 public:
  Kubeconfig(const fs::path& file, Json document) : file_(file), document_(std::move(document)) {}

  Result<ClientConfig> config(const std::string& context) const {
    VMLANE_ASSIGN(const std::string name, context_name(context));
    VMLANE_ASSIGN(const Json* chosen, entry("contexts", "context", name));
    ObjectReader reader(*chosen, "context \"" + name + "\": ", Code::kInvalidConfig);
    VMLANE_ASSIGN(const std::string cluster, named(reader, "cluster"));
    VMLANE_ASSIGN(const std::string user, named(reader, "user"));
    ClientConfig config{.origin = "kubeconfig " + file_.string()};
    VMLANE_TRY(in_file(read_cluster(cluster, config)));
    if (!user.empty()) VMLANE_TRY(in_file(read_user(user, config)));
    return config;
  }

 private:
  template <class T>
  Result<T> in_file(Result<T> result) const {
    if (!result) result.error().message.insert(0, file_.string() + ": ");
    return result;
  }
  std::unexpected<Error> wrong(const std::string& text, std::string details = {}) const {
    return fail(Code::kInvalidConfig, file_.string() + ": " + text, std::move(details));
  }

  Result<std::string> context_name(const std::string& asked) const {
    if (!asked.empty()) return asked;
    ObjectReader reader(document_, "", Code::kInvalidConfig);
    VMLANE_ASSIGN(const std::string current, in_file(reader.text("current-context")));
    if (current.empty()) return wrong("no \"current-context\"", "name one of the contexts");
    return current;
  }
  Result<std::string> named(ObjectReader& reader, std::string_view key) const {
    return in_file(reader.text(key));
  }

  // The value at `key` of the entry of that name in a list of named entries.
  Result<const Json*> entry(std::string_view list, std::string_view key, const std::string& name) const {
    const auto entries = document_.find(list);
    if (entries != document_.end() && entries->is_array())
      for (const Json& one : *entries) {
        if (!one.is_object() || one.value("name", Json()) != Json(name)) continue;
        const auto value = one.find(key);
        if (value != one.end() && value->is_object()) return &*value;
      }
    return wrong("\"" + std::string(list) + "\" has no " + std::string(key) + " \"" + name + "\"");
  }

  template <class Refusals>
  static Result<> refuse(const Json& object, const std::string& what, const Refusals& refusals) {
    for (const auto& [key, what_to_do] : refusals) {
      const auto value = object.find(key);
      if (value == object.end() || value->is_null() || *value == Json(false)) continue;
      return fail(Code::kInvalidConfig, what + "\"" + std::string(key) + "\" is not supported",
                  std::string(what_to_do));
    }
    return {};
  }

  Result<> read_cluster(const std::string& name, ClientConfig& config) const {
    const std::string what = "cluster \"" + name + "\": ";
    VMLANE_ASSIGN(const Json* object, entry("clusters", "cluster", name));
    VMLANE_TRY(refuse(*object, what, kRefusedOfCluster));
    ObjectReader reader(*object, what, Code::kInvalidConfig);
    VMLANE_ASSIGN(config.server, reader.text("server"));
    if (!config.server.starts_with("https://") && !config.server.starts_with("http://"))
      return reader.wrong("server", "a URL that begins with https://");
    while (config.server.ends_with('/')) config.server.pop_back();
    return read_pem(reader, "certificate-authority", config.authority);
  }

  Result<> read_user(const std::string& name, ClientConfig& config) const {
    const std::string what = "user \"" + name + "\": ";
    VMLANE_ASSIGN(const Json* object, entry("users", "user", name));
    VMLANE_TRY(refuse(*object, what, kRefusedOfUser));
    ObjectReader reader(*object, what, Code::kInvalidConfig);
    VMLANE_TRY(read_pem(reader, "client-certificate", config.certificate));
    VMLANE_TRY(read_pem(reader, "client-key", config.key));
    if (config.certificate.empty() != config.key.empty())
      return fail(Code::kInvalidConfig, what + "client-certificate and client-key go together");
    VMLANE_ASSIGN(config.token, reader.text("token"));
    VMLANE_ASSIGN(const std::string token_file, reader.text("tokenFile"));
    if (!token_file.empty()) config.token_file = file_.parent_path() / token_file;
    return {};
  }

  // `key` is a path, or `key`-data is the content in base64, which goes first as in other clients.
  Result<> read_pem(ObjectReader& reader, const std::string& key, Pem& pem) const {
    VMLANE_ASSIGN(const std::string data, reader.text(key + "-data"));
    VMLANE_ASSIGN(const std::string path, reader.text(key));
    if (!data.empty()) {
      const auto decoded = decode_base64(data);
      if (!decoded) return reader.wrong(key + "-data", "PEM text in base64");
      pem.data = *decoded;
    } else if (!path.empty()) {
      pem.file = file_.parent_path() / path;
    }
    return {};
  }

  const fs::path& file_;
  Json document_;
};

}  // namespace

Result<ClientConfig> read_kubeconfig(const fs::path& file, const std::string& context) {
  // Often a link to the file that is meant.
  std::error_code error;
  const fs::path target = fs::canonical(file, error);
  VMLANE_ASSIGN(const auto text, read_file(error ? file : target));
  if (!text) return fail(Code::kNotFound, "kubeconfig " + file.string() + " is not there");
  VMLANE_ASSIGN(auto documents, parse_yaml(*text, "kubeconfig " + file.string()));
  if (documents.size() != 1 || !documents[0].value.is_object())
    return fail(Code::kInvalidConfig, "kubeconfig " + file.string() + " is not one object");
  return Kubeconfig(file, std::move(documents[0].value)).config(context);
}

Result<ClientConfig> in_cluster_config(const Invocation& invocation, const fs::path& service_account) {
  const std::string host = invocation.variable("KUBERNETES_SERVICE_HOST");
  const std::string port = invocation.variable("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty())
    return fail(Code::kNotAvailable, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
                "outside of a pod give a kubeconfig file");
  ClientConfig config{.origin = "the pod's service account"};
  const bool is_ipv6 = host.find(':') != std::string::npos;
  config.server = "https://" + (is_ipv6 ? "[" + host + "]" : host) + ":" + port;
  config.authority.file = service_account / "ca.crt";
  config.token_file = service_account / "token";
  return config;
}

}  // namespace vmlane::kubernetes
