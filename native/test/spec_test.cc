#include "../runtime/spec.h"

#include <linux/capability.h>

#include "../runtime/user.h"
#include "check.h"

namespace starling {
namespace {

constexpr char kProcess[] = R"({"args":["a"],"seccompProgram":"060000000000ff7f"})";

std::string Minimal(const std::string& process = kProcess, const std::string& more = "") {
  return R"({"version":1,"id":"x","process":)" + process + R"(,"root":{"folder":"/r"},"cgroup":{"name":"x"})" + more + "}";
}

std::string FaultOf(const std::string& text) {
  auto spec = ParseSpec(text);
  return spec.ok() ? "none" : spec.error().message;
}

TEST(spec_has_safe_defaults) {
  auto spec = ParseSpec(Minimal());
  CHECK(spec.ok());
  CHECK(spec->process.no_new_privileges);
  CHECK(spec->process.seccomp);
  CHECK_EQ(spec->process.seccomp_program.size(), size_t{8});
  CHECK_EQ(spec->process.capabilities, uint64_t{0});
  CHECK_EQ(spec->root.masked_paths.size(), rootfs::DefaultMaskedPaths().size());
}

TEST(spec_reads_capabilities_and_limits) {
  auto spec = ParseSpec(Minimal(R"({"args":["a"],"seccomp":false,"capabilities":["CAP_KILL"],"rlimits":[{"name":"nofile","soft":5,"hard":-1}]})"));
  CHECK(spec.ok());
  CHECK_EQ(spec->process.capabilities, uint64_t{1} << CAP_KILL);
  CHECK_EQ(spec->process.rlimits[0].hard, ~uint64_t{0});
}

TEST(spec_reads_a_user_namespace) {
  std::string ids = R"([{"container":0,"host":100000,"size":65536}])";
  std::string own = R"(,"userNamespace":{"uids":)" + ids + R"(,"gids":)" + ids + "}";
  auto spec = ParseSpec(Minimal(kProcess, own));
  CHECK(spec.ok());
  CHECK_EQ(HostId(spec->root.ids.uids, 33), uint32_t{100033});
  CHECK_EQ(HostId(spec->root.ids.uids, 65536), uint32_t{65536});
  CHECK(ParseSpec(Minimal())->root.ids.empty());
  CHECK_EQ(FaultOf(Minimal(kProcess, R"(,"userNamespace":{"uids":)" + ids + "}")), "spec: userNamespace.gids: must map 0, the container's root");
  CHECK_EQ(FaultOf(Minimal(kProcess, own + R"(,"hostNamespaces":["pid"])")),
           "spec: userNamespace: excludes pid, ipc and network namespaces of the host");
}

TEST(spec_names_what_is_wrong) {
  CHECK_EQ(FaultOf("[]"), "spec: must be an object");
  CHECK_EQ(FaultOf(R"({"version":2})"), "spec: version 2, this shim reads version 1");
  CHECK_EQ(FaultOf(Minimal(R"({"args":[]})")), "spec: process.args: must have at least the program's name");
  CHECK_EQ(FaultOf(Minimal(R"({"args":["a"],"env":["novalue"]})")), "spec: process.env: `novalue` is not NAME=value");
  CHECK_EQ(FaultOf(Minimal(R"({"args":["a\u0000b"]})")),
           "spec: process.args: must be an array of strings without zero bytes");
  CHECK_EQ(FaultOf(Minimal(R"({"args":["a"],"capabilities":["CAP_FLY"]})")),
           "spec: process.capabilities: unknown capability `CAP_FLY`");
  CHECK_EQ(FaultOf(Minimal(R"({"args":["a"]})")), "spec: process.seccompProgram: must be there unless seccomp is false");
  CHECK_EQ(FaultOf(Minimal(kProcess, R"(,"mounts":[{"type":"bind","source":"/a","target":"/"}])")),
           "spec: mounts[0].target: must be an absolute path below /");
  CHECK_EQ(FaultOf(Minimal(kProcess, R"(,"resources":{"pids":-1})")),
           "spec: resources.pids: must be an integer from 0 to 4194304");
}

constexpr char kPasswd[] = "root:x:0:0::/root:/bin/sh\nbad line\napp:x:1000:1001::/home/app:/bin/sh\nodd:x:99999999999:1::/:\n";
constexpr char kGroup[] = "root:x:0:\nstaff:x:50:other,app\ntail:x:51:ap\n";

Identity Resolve(std::string_view user, const std::vector<std::string>& more = {}) {
  auto identity = ResolveUser(user, more, kPasswd, kGroup);
  return identity.ok() ? *identity : Identity{};
}

std::string Groups(const Identity& identity) {
  std::string text;
  for (gid_t group : identity.groups) text += std::to_string(group) + " ";
  return text;
}

TEST(user_is_found_by_name_and_number) {
  Identity app = Resolve("app");
  CHECK_EQ(app.uid, 1000U);
  CHECK_EQ(app.gid, 1001U);
  CHECK_EQ(app.home, "/home/app");
  CHECK_EQ(Groups(app), "1001 50 ");
  CHECK_EQ(Groups(Resolve("1000")), "1001 50 ");
  CHECK_EQ(Groups(Resolve("app:staff")), "50 ");
  CHECK_EQ(Groups(Resolve("app", {"tail", "7"})), "1001 50 51 7 ");
  CHECK_EQ(Resolve("4242:17").uid, 4242U);
  CHECK_EQ(Resolve("4242:17").gid, 17U);
  CHECK_EQ(Resolve("").home, "/root");
}

TEST(user_unknown_is_an_error) {
  CHECK(!ResolveUser("ghost", {}, kPasswd, kGroup).ok());
  CHECK(!ResolveUser("odd", {}, kPasswd, kGroup).ok());
  CHECK(!ResolveUser("app:ghosts", {}, kPasswd, kGroup).ok());
  CHECK(!ResolveUser("4294967295", {}, kPasswd, kGroup).ok());
}

}  // namespace
}  // namespace starling
