#include <sched.h>
#include <sys/mount.h>

#include "../oci/config.h"
#include "check.h"

namespace starling::oci {
namespace {

std::string With(const std::string& linux_members, const std::string& process_members = "") {
  return R"({"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"args":["sh"],"cwd":"/")" + process_members +
         R"(},"linux":{"namespaces":[{"type":"mount"}])" + linux_members + "}}";
}

std::string Fault(const std::string& text) {
  auto config = ParseConfig(text, "/bundle");
  return config.ok() ? "accepted" : config.error().message;
}

TEST(oci_config_takes_paths_relative_to_the_bundle) {
  auto config = ParseConfig(With(""), "/bundle");
  CHECK(config.ok());
  CHECK_EQ(config->root_path, "/bundle/rootfs");
  CHECK(config->HasNew(CLONE_NEWNS));
  CHECK(!config->HasNew(CLONE_NEWPID));
}

TEST(oci_config_keeps_numbers_of_64_bits) {
  auto config = ParseConfig(With("", R"(,"rlimits":[{"type":"RLIMIT_AS","soft":9223372036854775808,"hard":18446744073709551615}])"), "/");
  CHECK(config.ok());
  CHECK_EQ(config->process->rlimits[0].soft, uint64_t{1} << 63);
  CHECK_EQ(config->process->rlimits[0].hard, UINT64_MAX);
}

TEST(oci_config_names_what_it_refuses) {
  CHECK_EQ(Fault("{"), "JSON: expected a member name at byte 1");
  CHECK_EQ(Fault("[]"), "config.json: must be an object");
  CHECK_EQ(Fault(With(R"(,"devices":[{"type":"c","path":"/dev/x","major":1}])")),
           "config.json: linux.devices[0].major: must be set, and `minor` too");
  CHECK_EQ(Fault(With(R"(,"timeOffsets":{"monotonic":{"secs":1}})")),
           "config.json: linux.timeOffsets: need a new namespace of type `time`");
  CHECK_EQ(Fault(With(R"(,"resources":{"unified":{"../x":"1"}})")),
           "config.json: linux.resources.unified: `../x` is no name of a control file");
  CHECK_EQ(Fault(With(R"(,"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ALLOW","errnoRet":1}]})")),
           "config.json: linux.seccomp.syscalls[0].errnoRet: is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE only");
}

TEST(oci_mount_options_are_sorted_by_who_takes_them) {
  MountOptions options = ParseMountOptions({"ro", "nosuid", "suid", "rbind", "rslave", "rnoexec", "size=1k", "mode=755"});
  CHECK_EQ(options.set, static_cast<unsigned long>(MS_RDONLY));
  CHECK_EQ(options.cleared, static_cast<unsigned long>(MS_NOSUID));
  CHECK(options.bind && options.recursive_bind);
  CHECK_EQ(options.propagation.size(), size_t{1});
  CHECK_EQ(options.propagation[0], static_cast<unsigned long>(MS_SLAVE | MS_REC));
  CHECK_EQ(options.recursive_set, static_cast<uint64_t>(MOUNT_ATTR_NOEXEC));
  CHECK_EQ(options.data, "size=1k,mode=755");
}

}  // namespace
}  // namespace starling::oci
