// SPDX-License-Identifier: Apache-2.0
// What a broken or hostile caller, a full disk and a tampered state directory may do: exactly one error
// object at once, nothing left behind, nothing touched outside of the node config's directories; DEL goes
// through wherever it can.
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "core/hash.h"
#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

constexpr auto kAtOnce = std::chrono::seconds(1);
constexpr std::size_t kMaxErrorObject = 8192;

// One error object with a code, soon, and of a size that a runtime can log.
void expect_one_error(const CniOutcome& outcome) {
  EXPECT_EQ(outcome.process.signal, 0) << outcome;
  EXPECT_NE(outcome.process.status, 0) << outcome;
  EXPECT_GT(outcome.code(), 0) << outcome;
  EXPECT_FALSE(outcome.message().empty()) << outcome;
  EXPECT_LT(outcome.process.duration, kAtOnce) << outcome.message();
  EXPECT_LT(outcome.process.out.size(), kMaxErrorObject);
}

// Everything below a directory: names, kinds, content.
std::map<std::string, std::string> tree_of(const fs::path& root) {
  std::map<std::string, std::string> tree;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const auto status = entry.symlink_status();
    tree[entry.path().string()] =
        std::to_string(static_cast<int>(status.type())) + (fs::is_regular_file(status) ? slurp(entry) : "");
  }
  return tree;
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; i++) out += text;
  return out;
}

// ---- standard input ----

class BadStdinTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  // The good config with one value in JSON text that the library would not write.
  std::string with_raw(const std::string& key, const std::string& value) const {
    std::string text = config({{key, "RAW"}}).dump();
    const std::string place = "\"RAW\"";
    return text.replace(text.find(place), place.size(), value);
  }
  CniCall raw_call(const std::string& command, const std::string& text) {
    CniCall out = call(command, pods().at("a")->path(), Json());
    out.raw_config = text;
    return out;
  }
  std::map<std::string, std::string> cases() const {
    const std::string good = config().dump();
    constexpr std::size_t kTenMegabytes = std::size_t{10} << 20;
    return {
        {"nothing", ""},
        {"10 MB of spaces", std::string(kTenMegabytes, ' ')},
        {"a config after 10 MB of spaces", std::string(kTenMegabytes, ' ') + good},
        {"70 MB", std::string(std::size_t{70} << 20, 'x')},
        {"10,000 brackets", std::string(10'000, '[')},
        {"10,000 brackets and their ends", std::string(10'000, '[') + std::string(10'000, ']')},
        {"10,000 objects", repeated("{\"a\":", 10'000)},
        {"brackets below a key", with_raw("x", std::string(10'000, '[') + std::string(10'000, ']'))},
        {"invalid UTF-8", with_raw("x", "\"\xc3\x28\"")},
        {"half a surrogate pair", with_raw("x", R"("\ud800")")},
        {"UTF-16", std::string("\xff\xfe{\0}\0", 6)},
        {"a key twice", with_raw("x", R"({"k":1,"k":1})")},
        {"a name twice", R"({"name":"other",)" + good.substr(1)},
        {"a number out of range", with_raw("mtu", "1e400")},
        {"a number of 10,000 digits", with_raw("mtu", std::string(10'000, '9'))},
        {"not a number", with_raw("mtu", "NaN")},
        {"a huge version", with_raw("cniVersion", "\"" + std::string(10'000, '9') + ".0.0\"")},
        {"a NUL byte", std::string("{\"name\":\"a\0b\"}", 14)},
        {"a NUL byte at the end", good + std::string(1, '\0')},
        {"an escaped NUL in a name", with_raw("name", R"("a\u0000b")")},
        {"a name of 1 MB", with_raw("name", "\"" + std::string(std::size_t{1} << 20, 'n') + "\"")},
        {"a key of 1 MB", "{\"" + std::string(std::size_t{1} << 20, 'k') + "\":1,\"cniVersion\":7}"},
        {"a wrong value of 1 MB",
         with_raw("cniVersion", "[\"" + std::string(std::size_t{1} << 20, 'v') + "\"]")},
        {"a cut config", good.substr(0, good.size() / 2)},
        {"two configs", good + good},
        {"an error object", R"({"code":7,"msg":"x"})"},
    };
  }
};

TEST_P(BadStdinTest, EachIsOneErrorObjectAndLeavesNothing) {
  const Snapshot before = snapshot();
  for (const auto& [name, text] : cases()) {
    for (const char* command : {"ADD", "DEL"}) {
      SCOPED_TRACE(std::string(command) + " with " + name);
      expect_one_error(run_call(raw_call(command, text)));
    }
  }
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(BadStdinTest, TheOtherOperationsAreAsStrict) {
  const auto all = cases();
  for (const char* name :
       {"nothing", "10 MB of spaces", "10,000 brackets", "invalid UTF-8", "a cut config"}) {
    for (const char* command : {"CHECK", "GC", "STATUS"}) {
      SCOPED_TRACE(std::string(command) + " with " + name);
      expect_one_error(run_call(raw_call(command, all.at(name))));
    }
  }
}

TEST_P(BadStdinTest, NumbersThatNoKeyTakesFailTheAdd) {
  for (const char* number : {"18446744073709551616", "-1", "1e300", "1.5"})
    expect_one_error(run_call(raw_call("ADD", with_raw("mtu", number))));
}

INSTANTIATE_TEST_SUITE_P(Program, BadStdinTest,
                         ::testing::Values("vmlane-veth", "vmlane-tap", "vmlane-multus"),
                         [](const ::testing::TestParamInfo<std::string>& program) {
                           return program.param.substr(7);
                         });

// ---- files of the node ----

// One way to spoil a node and what has to come of it.
struct Damage {
  std::string name;
  std::function<void()> spoil;
  std::function<void()> mend;
  bool add_fails = true;
  bool del_works = true;
  std::string culprit;  // in ADD's error
};

class BadStateTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    fs::create_directories(outside());
    // The lock and state directories exist from here on.
    ASSERT_CNI_OK(add(pod(), config()));
    ASSERT_CNI_OK(del(pod().path(), config()));
  }
  Pod& pod() { return *pods().at("a"); }
  fs::path outside() const { return directory() / "outside"; }

  // Moves a file or directory out of the way and has a symlink lead to it.
  Damage symlink_at(const fs::path& path, bool add_fails = true, bool del_works = true) const {
    const fs::path moved = outside() / path.filename();
    return {"symlink at " + path.filename().string(),
            [=] {
              if (!fs::exists(path)) spit(path, "a file of somebody else");
              fs::rename(path, moved);
              fs::create_symlink(moved, path);
            },
            [=] {
              fs::remove(path);
              fs::rename(moved, path);
            },
            add_fails,
            del_works,
            add_fails ? path.string() : ""};
  }
  // Puts a directory that is not empty in a file's place.
  Damage directory_at(const fs::path& path) const {
    return {"directory at " + path.filename().string(),
            [=, this] {
              if (fs::exists(path)) fs::rename(path, outside() / "kept");
              fs::create_directories(path / "precious");
            },
            [=, this] {
              fs::remove_all(path);
              if (fs::exists(outside() / "kept")) fs::rename(outside() / "kept", path);
            },
            true,
            true,
            path.string()};
  }
  Damage file_at(const fs::path& path, bool del_works) const {
    return {"file at " + path.filename().string(),
            [=, this] {
              fs::rename(path, outside() / "kept");
              spit(path, "a file of somebody else");
            },
            [=, this] {
              fs::remove(path);
              fs::rename(outside() / "kept", path);
            },
            true,
            del_works,
            path.string()};
  }
  Damage fifo_at(const fs::path& path) const {
    return {"FIFO at " + path.filename().string(),
            [=, this] {
              if (fs::exists(path)) fs::rename(path, outside() / "kept");
              ::mkfifo(path.c_str(), 0600);
            },
            [=, this] {
              fs::remove(path);
              if (fs::exists(outside() / "kept")) fs::rename(outside() / "kept", path);
            },
            true,
            true,
            path.string()};
  }
  Damage read_only_state() const {
    const fs::path state = node().state_dir;
    return {"read-only state directory",
            [=] {
              ASSERT_EQ(::mount(state.c_str(), state.c_str(), nullptr, MS_BIND, nullptr), 0);
              ASSERT_EQ(::mount(nullptr, state.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr),
                        0);
            },
            [=] { ::umount(state.c_str()); },
            true,
            true,
            "Read-only file system"};
  }
  // The state directory on a disk without a free byte.
  Damage full_state() const {
    const fs::path state = node().state_dir;
    const fs::path kept = outside() / "kept";
    constexpr auto kWithLinks = fs::copy_options::recursive | fs::copy_options::copy_symlinks;
    return {"full state directory",
            [=] {
              fs::copy(state, kept, kWithLinks);
              ASSERT_EQ(::mount("tmpfs", state.c_str(), "tmpfs", 0, "size=64k"), 0);
              fs::copy(kept, state, kWithLinks);
              fs::remove_all(kept);
              std::ofstream filler(state / "filler", std::ios::binary);
              while (filler.put('x').flush()) {
              }
            },
            [=] {
              fs::remove(state / "filler");
              fs::copy(state, kept, kWithLinks);
              ASSERT_EQ(::umount(state.c_str()), 0);
              fs::remove_all(state);
              fs::copy(kept, state, kWithLinks);
              fs::remove_all(kept);
            },
            true,
            true,
            "No space left on device"};
  }

  std::vector<Damage> damages() const {
    const fs::path record = record_file(id_of());
    const fs::path lock = node().locks_dir() / ("attachment-" + sha256_hex(id_of()).substr(0, 32) + ".lock");
    return {
        symlink_at(node().attachments_dir()),
        file_at(node().attachments_dir(), true),
        symlink_at(node().networks_file()),
        directory_at(node().networks_file()),
        fifo_at(node().networks_file()),
        symlink_at(record, false),
        directory_at(record),
        // Without its lock no operation may go on.
        symlink_at(node().locks_dir(), true, false),
        file_at(node().locks_dir(), false),
        symlink_at(lock, true, false),
        read_only_state(),
        full_state(),
    };
  }
};

TEST_P(BadStateTest, AddSaysWhatIsWrongOrWorksAndTouchesNothingOutside) {
  for (const Damage& damage : damages()) {
    SCOPED_TRACE(damage.name);
    // A new segment, so that the network table has to be written.
    const Json conf = config({{"bridge", "br" + std::to_string(damage.name.size())}});
    damage.spoil();
    const auto precious = tree_of(outside());
    const Snapshot before = snapshot();
    const CniOutcome outcome = run_call(call("ADD", pod().path(), conf));
    if (damage.add_fails) {
      expect_one_error(outcome);
      EXPECT_NE((outcome.message() + outcome.details()).find(damage.culprit), std::string::npos) << outcome;
      EXPECT_SNAP_CLEAN(before, snapshot());
    } else {
      EXPECT_CNI_OK(outcome);
    }
    EXPECT_EQ(tree_of(outside()), precious);
    if (damage.del_works) {
      const CniOutcome deleted = del(pod().path(), conf);
      EXPECT_CNI_OK(deleted);
      EXPECT_TRUE(deleted.silent());
    }
    EXPECT_EQ(tree_of(outside()), precious);
    if (damage.add_fails) damage.mend();
    EXPECT_CNI_OK(add(pod(), conf)) << "all is well again";
    EXPECT_CNI_OK(del(pod().path(), conf));
    fs::remove_all(outside());
    fs::create_directories(outside());
  }
}

TEST_P(BadStateTest, F088_DelRemovesAllThatItCanAndTouchesNothingOutside) {
  for (const Damage& damage : damages()) {
    SCOPED_TRACE(damage.name);
    const Snapshot before = snapshot();
    ASSERT_CNI_OK(add(pod(), config()));
    damage.spoil();
    const auto precious = tree_of(outside());
    const CniOutcome deleted = del(pod().path(), config());
    EXPECT_EQ(deleted.ok(), damage.del_works) << deleted;
    if (damage.del_works) {
      EXPECT_TRUE(deleted.silent()) << deleted;
      EXPECT_EQ(link_names(""), idle_links());
      EXPECT_EQ(link_names(pod().path()), std::vector<std::string>{"lo"});
      EXPECT_TRUE(reserved_addresses().empty());
    } else {
      expect_one_error(deleted);
    }
    EXPECT_LT(deleted.process.duration, kAtOnce);
    EXPECT_EQ(tree_of(outside()), precious);
    damage.mend();
    EXPECT_CNI_OK(del(pod().path(), config()));
    EXPECT_SNAP_CLEAN(before, snapshot());
    fs::remove_all(outside());
    fs::create_directories(outside());
  }
}

TEST_P(BadStateTest, F088_StatusAndGcTellWhatStandsInTheWay) {
  Json gc_conf = config();
  gc_conf["cni.dev/valid-attachments"] = Json::array();
  for (const Damage& damage : {symlink_at(node().attachments_dir()), file_at(node().attachments_dir(), true),
                               symlink_at(node().locks_dir()), file_at(node().locks_dir(), false),
                               read_only_state(), full_state()}) {
    SCOPED_TRACE(damage.name);
    damage.spoil();
    const auto precious = tree_of(outside());
    const CniOutcome status = run_call(call("STATUS", "", config()));
    EXPECT_CNI_ERROR(status, Code::kNotAvailable);
    EXPECT_NE((status.message() + status.details()).find(damage.culprit), std::string::npos) << status;
    const CniOutcome collected = run_call(call("GC", "", gc_conf));
    EXPECT_TRUE(collected.ok() || collected.code() > 0) << collected;
    EXPECT_EQ(tree_of(outside()), precious);
    damage.mend();
    EXPECT_CNI_OK(run_call(call("STATUS", "", config())));
    fs::remove_all(outside());
    fs::create_directories(outside());
  }
}

TEST_P(BadStateTest, StateDirectoryMayBeASymlinkOfTheAdministrator) {
  fs::rename(node().state_dir, outside() / "disk");
  fs::create_directory_symlink(outside() / "disk", node().state_dir);
  ASSERT_CNI_OK(add(pod(), config({{"bridge", "br7"}})));
  EXPECT_TRUE(fs::exists(outside() / "disk" / "attachments" / (id_of() + ".json")));
  EXPECT_CNI_OK(del(pod().path(), config()));
}

TEST_P(BadStateTest, F055_FullRangeIsAnErrorAndTheNextFreeAddressIsGivenOut) {
  Json ipam = host_local("192.0.2.0/29");
  ipam["ranges"][0][0]["rangeEnd"] = "192.0.2.3";
  const Json conf = config({{"ipam", ipam}});
  Pod& other = make_pod("b");
  const CniOutcome first = add(pod(), conf, "c1", "net1");
  ASSERT_CNI_OK(first);
  ASSERT_CNI_OK(add(pod(), conf, "c2", "net2"));
  const Snapshot before = snapshot();
  const CniOutcome full = run_call(call("ADD", other.path(), conf, "c3"));
  expect_one_error(full);
  EXPECT_NE(full.message().find("192.0.2.3"), std::string::npos) << "names the range\n" << full;
  EXPECT_SNAP_CLEAN(before, snapshot());
  // There is nothing to clean up, at once and as often as the runtime likes.
  for (int i = 0; i < 3; i++) {
    const CniOutcome deleted = del(other.path(), conf, "c3");
    EXPECT_CNI_OK(deleted);
    EXPECT_LT(deleted.process.duration, kAtOnce);
  }
  EXPECT_SNAP_CLEAN(before, snapshot());
  EXPECT_CNI_OK(del(pod().path(), conf, "c1", "net1"));
  const CniOutcome next = add(other, conf, "c3");
  ASSERT_CNI_OK(next);
  EXPECT_EQ((*next.document)["ips"], (*first.document)["ips"]);
}

TEST_P(BadStateTest, FullDiskOfTheAllocatorFailsTheAddCleanly) {
  ASSERT_EQ(::mount("tmpfs", ipam_dir().c_str(), "tmpfs", 0, "size=64k"), 0);
  std::ofstream filler(directory() / "ipam" / "filler", std::ios::binary);
  while (filler.put('x').flush()) {
  }
  const Snapshot before = snapshot();
  for (const char* container : {"c1", "c2", "c3"})
    expect_one_error(run_call(call("ADD", pod().path(), config(), container)));
  EXPECT_SNAP_CLEAN(before, snapshot());
  EXPECT_TRUE(reserved_addresses().empty());
  filler.close();
  fs::remove(directory() / "ipam" / "filler");
  EXPECT_CNI_OK(add(pod(), config()));
}

VMLANE_FOR_EACH_LANE(BadStateTest);

}  // namespace
}  // namespace vmlane::test
