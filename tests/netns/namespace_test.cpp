// SPDX-License-Identifier: Apache-2.0
// Which namespace a path names, and that work in another one never leaves the thread there.
#include "netlink/namespace.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <stdexcept>

#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using netlink::Namespace;

std::string own_namespace() {
  return std::filesystem::read_symlink("/proc/thread-self/ns/net").string();
}

class NamespaceTest : public HostFixture {};

TEST_F(NamespaceTest, IdentityTellsNamespacesApart) {
  const Namespace host = value_of(Namespace::current());
  const Namespace pod = value_of(Namespace::open(make_pod("a").path()));
  const Namespace again = value_of(Namespace::open(pod.path()));
  EXPECT_TRUE(value_of(pod.same_as(again)));
  EXPECT_FALSE(value_of(pod.same_as(host)));

  const NamespaceIdentity identity = value_of(pod.identity());
  struct stat status {};
  ASSERT_EQ(::stat(pod.path().c_str(), &status), 0);
  EXPECT_EQ(identity.path, "/run/netns/a");
  EXPECT_EQ(identity.inode, status.st_ino);
  EXPECT_EQ(identity.device, status.st_dev);
  EXPECT_EQ(identity.cookie, value_of(again.identity()).cookie);
  EXPECT_NE(identity.cookie, value_of(host.identity()).cookie);
}

TEST_F(NamespaceTest, CookieIsNeverUsedAgainWhereAnInodeIs) {
  const auto identity_of_new = [&] {
    Pod pod("recycled");
    return value_of(value_of(Namespace::open(pod.path())).identity());
  };
  const NamespaceIdentity first = identity_of_new();
  const NamespaceIdentity second = identity_of_new();
  ASSERT_TRUE(first.cookie && second.cookie);
  EXPECT_NE(first.cookie, second.cookie);
}

TEST_F(NamespaceTest, OpenRefusesWhatIsNoNetworkNamespace) {
  const auto in = [&](const char* name) { return (directory() / name).string(); };
  spit(in("file"), "");
  ASSERT_EQ(::mkfifo(in("fifo").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("loop", in("loop").c_str()), 0);
  Pod& gone = make_pod("gone");
  gone.remove();
  for (const std::string& path : {in("missing"), in("file"), in("fifo"), in("loop"), in("file/below"),
                                  directory().string(), gone.path(), std::string("/proc/self/ns/mnt"),
                                  std::string("/dev/null"), std::string(5000, 'x'), std::string()}) {
    EXPECT_REFUSED(Namespace::open(path), Code::kUnknownContainer, path);
  }
}

TEST_F(NamespaceTest, RunWorksInsideAndReturns) {
  const std::string home = own_namespace();
  const Namespace pod = value_of(Namespace::open(make_pod("a").path()));
  const auto inside = pod.run<std::string>([]() -> Result<std::string> { return own_namespace(); });
  EXPECT_EQ(value_of(inside), "net:[" + std::to_string(value_of(pod.identity()).inode) + "]");
  EXPECT_EQ(own_namespace(), home);
}

TEST_F(NamespaceTest, RunReturnsWhenTheWorkFails) {
  const std::string home = own_namespace();
  const Namespace pod = value_of(Namespace::open(make_pod("a").path()));
  const auto refused = pod.run<void>([]() -> Result<> { return fail(Code::kConflict, "no"); });
  EXPECT_REFUSED(refused, Code::kConflict, "no");
  EXPECT_EQ(own_namespace(), home);
  EXPECT_THROW((void)pod.run<void>([]() -> Result<> { throw std::runtime_error("thrown"); }),
               std::runtime_error);
  EXPECT_EQ(own_namespace(), home);
}

TEST_F(NamespaceTest, RunWorksWhenTheNamespaceLostItsName) {
  Pod& pod = make_pod("a");
  const Namespace open = value_of(Namespace::open(pod.path()));
  pod.remove();
  EXPECT_OK(open.run<void>([]() -> Result<> { return {}; }));
}

TEST_F(NamespaceTest, RunNests) {
  const std::string home = own_namespace();
  const Namespace outer = value_of(Namespace::open(make_pod("a").path()));
  const Namespace inner = value_of(Namespace::open(make_pod("b").path()));
  ASSERT_OK(outer.run<void>([&]() -> Result<> {
    const std::string before = own_namespace();
    VMLANE_TRY(inner.run<void>([&]() -> Result<> {
      EXPECT_NE(own_namespace(), before);
      return {};
    }));
    EXPECT_EQ(own_namespace(), before);
    return {};
  }));
  EXPECT_EQ(own_namespace(), home);
}

}  // namespace
}  // namespace vmlane::test
