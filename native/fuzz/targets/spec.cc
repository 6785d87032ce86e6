// The spec of a container as swarmd writes it, with names and environment that came from a service.
#include "../../runtime/spec.h"

#include "../../cgroup/paths.h"
#include "../../runtime/process.h"
#include "../../runtime/seccomp.h"
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto spec = ParseSpec(text);
  if (spec.ok()) {
    const ProcessSpec& process = spec->process;
    fuzz::Require(!process.args.empty() && process.cwd.starts_with('/'), "a process has a program and an absolute folder");
    fuzz::Require(!process.seccomp || !process.seccomp_program.empty(), "nobody goes without a filter unseen");
    (void)SeccompProgram(process.seccomp_program);
    for (const rootfs::Mount& mount : spec->root.mounts) fuzz::Require(mount.target.starts_with('/'), "a mount's target is absolute");
    if (cgroup::CheckGroupName(spec->placement.name, "cgroup.name").ok()) {
      std::string path = "/" + spec->placement.name + "/";
      fuzz::Require(path.find("/../") == std::string::npos, "a group stays below its parent");
    }
  }
  (void)ParseProcess(text, ProcessSpec{}).ok();
  return 0;
}
