// SPDX-License-Identifier: Apache-2.0
// How long who waits for a link to be gone, and what is left of it.
#include "cni/link_removal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "cni/real_kernel.h"
#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using netlink::Namespace;
using netlink::Netlink;

class LinkRemovalTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    host_.emplace(value_of(Namespace::current()));
    pod_.emplace(value_of(Namespace::open(make_pod("a").path())));
    links_ = value_of(netlink::open_netlink(*host_));
    value_of(links_->create_veth({"v0", {{2, 0, 0, 0, 0, 1}}, "eth0", {{2, 0, 0, 0, 0, 2}}, 1500}, *pod_));
    index_ = value_of(links_->find_link("v0")).value().index;
  }
  Result<> remove(const cni::LinkRemoval& removal) {
    return cni::remove_link(kernel_, *host_, index_, removal);
  }

  cni::RealKernel kernel_;
  std::optional<Namespace> host_;
  std::optional<Namespace> pod_;
  std::unique_ptr<Netlink> links_;
  int index_ = 0;
};

TEST_F(LinkRemovalTest, BothEndsAreGoneWhenItReturns) {
  ASSERT_OK(remove([&](Netlink& links) { return links.delete_link(index_); }));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
  EXPECT_EQ(link_names(pod_->path()), std::vector<std::string>{"lo"});
}

// The process that waits for the kernel is held up for good here, in place of its milliseconds: whatever it
// kept of ours would be kept for as long.
TEST_F(LinkRemovalTest, WaitsForNothingOnceTheLinkIsGoneAndHoldsNothingMeanwhile) {
  std::array<int, 2> output{};  // as a runtime has it, which reads a plugin's output to its end
  ASSERT_EQ(::pipe2(output.data(), O_CLOEXEC), 0);
  const Fd reader(output[0]);
  Fd writer(output[1]);
  const std::string lock_file = node().state_dir.string() + ".lock";
  Fd lock(::open(lock_file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  const pid_t us = ::getpid();
  pid_t* other = static_cast<pid_t*>(
      ::mmap(nullptr, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(other, MAP_FAILED);
  ASSERT_OK(remove([&](Netlink& links) -> Result<> {
    VMLANE_TRY(links.delete_link(index_));
    if (::getpid() == us) return {};
    *other = ::getpid();
    for (;;) ::pause();
  }));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
  EXPECT_TRUE(eventually([&] { return *other != 0; })) << "no process of its own was held up";
  writer = Fd();
  pollfd ended{.fd = reader.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&ended, 1, 10'000), 1) << "the output is still open somewhere";
  lock = Fd();
  const Fd again(::open(lock_file.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(eventually([&] { return ::flock(again.get(), LOCK_EX | LOCK_NB) == 0; })) << "the lock is held";
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD) << "it is a child of ours, which nobody would wait for";
  if (*other != 0) ::kill(*other, SIGKILL);
  ::munmap(other, sizeof(pid_t));
}

TEST_F(LinkRemovalTest, ErrorOfTheRemovalIsToldAndTheLinkStays) {
  const auto refused =
      remove([](Netlink&) -> Result<> { return fail(Code::kKernel, "no", "not to be had"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "no");
  EXPECT_EQ(refused.error().details, "not to be had");
  EXPECT_EQ(link_names(""), (std::vector<std::string>{"lo", "v0"}));
}

TEST_F(LinkRemovalTest, ProcessThatDiesIsReplacedByUs) {
  const pid_t us = ::getpid();
  ASSERT_OK(remove([&](Netlink& links) -> Result<> {
    if (::getpid() != us) ::kill(::getpid(), SIGKILL);
    return links.delete_link(index_);
  }));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
}

TEST_F(LinkRemovalTest, LinkThatIsGoneAlready) {
  ASSERT_OK(links_->delete_link(index_));
  const auto removed = remove([&](Netlink& links) { return links.delete_link(index_); });
  // Either way of seeing it is right: it is gone.
  if (!removed) {
    EXPECT_EQ(removed.error().code, Code::kNotFound);
  }
}

}  // namespace
}  // namespace vmlane::test
