// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kubernetes/client_config.h"
#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::kubernetes {
namespace {

namespace fs = std::filesystem;

class Kubeconfig : public testing::Test {
 protected:
  // The file has `cluster` and `user` as the keys of its one cluster and user.
  Result<ClientConfig> read(const std::string& cluster, const std::string& user,
                            const std::string& context = "") {
    std::ofstream(file()) << "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n"
                             "- {name: here, context: {cluster: c, user: u}}\n"
                             "clusters:\n- {name: c, cluster: {"
                          << cluster << "}}\nusers:\n- {name: u, user: {" << user << "}}\n";
    return read_kubeconfig(file(), context);
  }
  fs::path file() const { return directory_.path() / "config"; }

  test::TemporaryDirectory directory_;
};

TEST_F(Kubeconfig, NamesServerAuthorityAndClientCertificate) {
  const auto config = read("server: 'https://192.0.2.1:6443/', certificate-authority: pki/ca.crt",
                           "client-certificate-data: Q0VSVA==, client-key: /keys/client.key");
  ASSERT_OK(config);
  EXPECT_EQ(config->server, "https://192.0.2.1:6443");
  EXPECT_EQ(config->authority.file, directory_.path() / "pki/ca.crt");  // relative to the kubeconfig
  EXPECT_EQ(config->certificate.data, "CERT");
  EXPECT_EQ(config->key.file, "/keys/client.key");
}

TEST_F(Kubeconfig, ATokenFileIsRelativeToTheFileToo) {
  const auto config = read("server: 'https://192.0.2.1'", "tokenFile: token, token: old");
  ASSERT_OK(config);
  EXPECT_EQ(config->token_file, directory_.path() / "token");
}

TEST_F(Kubeconfig, RefusesByNameWhatIsNotSupported) {
  struct Case {
    std::string cluster;
    std::string user;
    std::string named;
  };
  const std::vector<Case> cases = {
      {"server: 'https://api.example', insecure-skip-tls-verify: true", "", "insecure-skip-tls-verify"},
      {"server: 'https://api.example', tls-server-name: api", "", "tls-server-name"},
      {"server: 'https://api.example', proxy-url: 'http://proxy.example'", "", "proxy-url"},
      {"server: 'https://api.example'", "exec: {command: get-token}", "exec"},
      {"server: 'https://api.example'", "auth-provider: {name: oidc}", "auth-provider"},
      {"server: 'https://api.example'", "username: a, password: b", "username"},
      {"server: 'https://api.example'", "as: somebody", "\"as\""},
      {"server: 'https://api.example'", "client-certificate: a.crt", "client-certificate and client-key"},
      {"server: 'https://api.example'", "client-certificate-data: '%%%', client-key: k",
       "client-certificate-data"},
      {"server: 'ftp://api.example'", "", "server"},
      {"certificate-authority: ca.crt", "", "server"},
      {"server: 7", "", "server"},
  };
  for (const Case& one : cases) {
    const auto config = read(one.cluster, one.user);
    ASSERT_FALSE(config) << one.named;
    EXPECT_EQ(config.error().code, Code::kInvalidConfig) << config.error().text();
    EXPECT_NE(config.error().text().find(one.named), std::string::npos) << config.error().text();
    EXPECT_NE(config.error().text().find(file().string()), std::string::npos) << config.error().text();
  }
}

TEST_F(Kubeconfig, NamesTheContextThatIsNotThere) {
  const auto config = read("server: 'https://api.example'", "", "elsewhere");
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().text().find("elsewhere"), std::string::npos) << config.error().text();
  EXPECT_EQ(read_kubeconfig(directory_.path() / "none").error().code, Code::kNotFound);
}

TEST(InClusterConfig, IsMadeOfThePodsVariables) {
  Invocation invocation;
  EXPECT_EQ(in_cluster_config(invocation).error().code, Code::kNotAvailable);
  invocation.env = {{"KUBERNETES_SERVICE_HOST", "2001:db8::1"}, {"KUBERNETES_SERVICE_PORT", "443"}};
  const auto config = in_cluster_config(invocation, "/account");
  ASSERT_OK(config);
  EXPECT_EQ(config->server, "https://[2001:db8::1]:443");
  EXPECT_EQ(config->authority.file, "/account/ca.crt");
  EXPECT_EQ(config->token_file, "/account/token");
}

}  // namespace
}  // namespace vmlane::kubernetes
