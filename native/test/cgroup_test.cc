#include "../cgroup/paths.h"
#include "check.h"

namespace starling::cgroup {
namespace {

constexpr char kHybridMounts[] =
    "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "28 25 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "29 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "30 25 0:24 / /mnt/memory rw - cgroup cgroup rw,memory\n";

constexpr char kHybridSelf[] =
    "4:memory:/box/a\n3:cpu,cpuacct:/\n1:name=systemd:/system.slice/swarmd.service\n0::/system.slice/swarmd.service\n";

TEST(cgroup_finds_hierarchies_of_a_hybrid_host_once_each) {
  auto found = ParseHierarchies(kHybridMounts, kHybridSelf);
  CHECK_EQ(found.size(), size_t{4});
  CHECK_EQ(found[0].mount_point, "/sys/fs/cgroup/cpu,cpuacct");
  CHECK(found[0].Has("cpuacct"));
  CHECK_EQ(found[0].own, "/");
  CHECK_EQ(found[1].own, "/box/a");
  CHECK(found[2].Has("name=systemd"));
  CHECK(found[3].v2);
}

TEST(cgroup_containers_stay_below_our_group_but_leave_a_systemd_unit) {
  auto found = ParseHierarchies(kHybridMounts, kHybridSelf);
  CHECK_EQ(ContainersGroup(found[0], ""), "/starling");
  CHECK_EQ(ContainersGroup(found[1], ""), "/box/a/starling");
  CHECK_EQ(ContainersGroup(found[3], ""), "/starling.slice");
  CHECK_EQ(ContainersGroup(found[1], "/elsewhere"), "/elsewhere");
}

TEST(cgroup_containers_stand_beside_our_group_on_pure_v2) {
  constexpr char kPure[] = "29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  auto group = [&](const char* own) { return ContainersGroup(ParseHierarchies(kPure, own)[0], ""); };
  CHECK_EQ(group("0::/host/swarmd\n"), "/host/starling");
  CHECK_EQ(group("0::/swarmd\n"), "/starling");
  CHECK_EQ(group("0::/\n"), "/starling");
  CHECK_EQ(group("0::/system.slice/swarmd.service\n"), "/starling.slice");
}

TEST(cgroup_paths_are_relative_to_the_root_that_a_mount_shows) {
  constexpr char kMount[] = "26 25 0:23 /docker/abc /sys/fs/cgroup/memory\\040x rw - cgroup cgroup rw,memory\n";
  CHECK_EQ(ParseHierarchies(kMount, "4:memory:/docker/abc/in\n")[0].own, "/in");
  CHECK_EQ(ParseHierarchies(kMount, "4:memory:/docker/abc\n")[0].own, "/");
  CHECK_EQ(ParseHierarchies(kMount, "4:memory:/docker/abcd\n")[0].own, "/");
  CHECK_EQ(ParseHierarchies(kMount, "4:memory:/\n")[0].mount_point, "/sys/fs/cgroup/memory x");
}

TEST(cgroup_names_may_not_leave_their_folder) {
  for (const char* name : {"a", "a/b", "/a/b.slice"}) CHECK(CheckGroupName(name, "n").ok());
  for (const char* name : {"", "/", "..", "a/../b", "a//b", "a/", "./a", "a b", "a\nb"}) {
    CHECK(!CheckGroupName(name, "n").ok());
  }
  CHECK_EQ(CheckGroupName("a/..", "cgroup.name").error().message,
           "cgroup.name `a/..`: must not have empty, `.` or `..` parts");
}

}  // namespace
}  // namespace starling::cgroup
