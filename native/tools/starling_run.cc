// starling-run: runs one container without swarmd, with this terminal's stdin, stdout and stderr.
//   starling-run SPEC.json                      a bundle's spec file
//   starling-run ROOTFS PROGRAM [ARGUMENT…]     a plain folder, default privileges, no limits
// Exit code: the program's; 128 + n when signal n ended it; 125 when the container could not be made.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "../base/json.h"
#include "../runtime/container.h"
#include "../sys/fs.h"

namespace starling {
namespace {

std::string QuickSpec(const char* rootfs, char** args) {
  std::string argv = "[";
  for (char** arg = args; *arg != nullptr; arg++) {
    if (arg != args) argv.push_back(',');
    json::AppendString(argv, *arg);
  }
  argv.push_back(']');
  char* absolute = realpath(rootfs, nullptr);
  std::string name = "run-" + std::to_string(getpid());
  std::string process = json::Object()
                            .Raw("args", argv)
                            .Raw("env", R"(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])")
                            .Raw("capabilities",
                                 R"(["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW",)"
                                 R"("CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE",)"
                                 R"("CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"])")
                            .Done();
  std::string root = json::Object().String("folder", absolute == nullptr ? rootfs : absolute).Done();
  free(absolute);
  return json::Object()
      .Int("version", kSpecVersion)
      .String("id", name)
      .String("hostname", name)
      .Raw("process", process)
      .Raw("root", root)
      .Raw("cgroup", json::Object().String("name", name).Done())
      .Done();
}

int Fail(const Error& error) {
  fprintf(stderr, "starling-run: %s\n", error.message.c_str());
  return 125;
}

int Run(const std::string& spec_text) {
  auto spec = ParseSpec(spec_text);
  if (!spec.ok()) return Fail(spec.error());
  auto cgroup = cgroup::Cgroup::Locate(spec->placement, spec->limits);
  if (!cgroup.ok()) return Fail(cgroup.error());
  if (Status made = cgroup->Create(spec->limits); !made.ok()) {
    (void)cgroup->Remove().ok();
    return Fail(made.error());
  }
  int code = 125;
  auto container = CreateContainer(*spec, *cgroup, {.in = 0, .out = 1, .err = 2});
  Status started = container.ok() ? StartContainer(*container) : Status(container.error());
  if (container.ok()) {
    int status = 0;
    waitpid(container->pid, &status, 0);
    code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  if (!started.ok()) code = Fail(started.error());
  if (Status removed = cgroup->Remove(); !removed.ok()) return Fail(removed.error());
  return code;
}

}  // namespace
}  // namespace starling

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: starling-run SPEC.json | starling-run ROOTFS PROGRAM [ARGUMENT...]\n");
    return 125;
  }
  if (argc > 2) return starling::Run(starling::QuickSpec(argv[1], argv + 2));
  auto text = starling::fs::ReadFile(argv[1]);
  return text.ok() ? starling::Run(*text) : starling::Fail(text.error());
}
