// starling-shim create BUNDLE
//
// Reads BUNDLE/spec.json, makes the container up to the point where its init waits for `start`, prints
// {"pid":…,"shimPid":…} and exits 0; behind it stays the shim, in a session of its own and without any descriptor of
// the caller. On failure: one line on stderr, exit 1, nothing left behind.
//
//     starling-shim (caller waits)        shim                              container's init
//     fork ─────────────────────────────► setsid, cgroups, socket, clone3 ─► mounts, pivot, …, ready
//     ◄─────────── "R{…}" or "E…" ─────── poll loop
//     print, exit
//
// A caller that is killed takes starling-shim along, and that the shim, until the container is ready: whoever comes after
// finds it whole or gone, and makes none beside one that is still being made.
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "../base/json.h"
#include "../runtime/sync_socket.h"
#include "../sys/clone.h"
#include "../sys/fs.h"
#include "../sys/own_program.h"
#include "shim.h"

namespace starling {
namespace {

constexpr char kStateFile[] = "state.json";

int Fail(const Error& error) {
  fprintf(stderr, "%s\n", error.message.c_str());
  return 1;
}

// Written before any group is made, and again by the shim, which then has a pid.
std::string StateFile(const cgroup::Cgroup& cgroup, pid_t shim_pid) {
  std::string folders = "[";
  for (const std::string& folder : cgroup.Folders()) {
    if (folders.size() > 1) folders.push_back(',');
    json::AppendString(folders, folder);
  }
  folders.push_back(']');
  return json::Object().Int("version", 1).Int("shimPid", shim_pid).Raw("cgroups", folders).Done() + "\n";
}

// Stdin, stdout and stderr become /dev/null; everything else but `kept` is closed.
Status DropDescriptors(int kept) {
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return Error::Errno("open", "/dev/null");
  for (int fd = 0; fd < 3; fd++) dup2(null.get(), fd);
  null.reset();
  auto below = static_cast<unsigned>(kept);
  if (below > 3 && close_range(3, below - 1, 0) != 0) return Error::Errno("close_range", "");
  if (close_range(below + 1, ~0U, 0) != 0) return Error::Errno("close_range", "");
  return {};
}

[[noreturn]] void BecomeShim(Spec spec, cgroup::Cgroup cgroup, UniqueFd report, pid_t creator) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != creator) _exit(1);
  setsid();
  prctl(PR_SET_NAME, "starling-shim", 0, 0, 0);
  auto create = [&]() -> Result<std::unique_ptr<Shim>> {
    STARLING_TRY(DropDescriptors(report.get()));
    STARLING_TRY(fs::ReplaceFile(kStateFile, StateFile(cgroup, getpid()), 0600));
    return Shim::Create(std::move(spec), std::move(cgroup));
  };
  auto shim = create();
  if (!shim.ok()) {
    (void)SendMessage(report.get(), "E" + shim.error().message).ok();
    _exit(1);
  }
  // Memory shortage takes containers before their shims. Best effort: needs CAP_SYS_RESOURCE.
  (void)fs::WriteControl("/proc/self/oom_score_adj", "-999").ok();
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  json::Object pids;
  (void)SendMessage(report.get(), "R" + pids.Int("pid", (*shim)->container_pid()).Int("shimPid", getpid()).Done()).ok();
  report.reset();
  (*shim)->Serve();
  _exit(0);
}

// Of who reads what this program prints; it may have ended before the signal was asked for.
Status DieWithCaller() {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  pollfd out = {STDOUT_FILENO, 0, 0};
  if (poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0) return Error{"shim: nobody waits for the container"};
  return {};
}

int Create(const char* bundle) {
  if (Status tied = DieWithCaller(); !tied.ok()) return Fail(tied.error());
  if (chdir(bundle) != 0) return Fail(Error::Errno("chdir", bundle));
  auto text = fs::ReadFile("spec.json");
  if (!text.ok()) return Fail(text.error());
  auto spec = ParseSpec(*text);
  if (!spec.ok()) return Fail(spec.error());
  // Located before this process moves: the place of the groups may hang on where the caller is.
  auto cgroup = cgroup::Cgroup::Locate(spec->placement, spec->limits);
  if (!cgroup.ok()) return Fail(cgroup.error());
  auto sync = MakeSyncPair();
  if (!sync.ok()) return Fail(sync.error());
  if (Status kept = fs::ReplaceFile(kStateFile, StateFile(*cgroup, 0), 0600); !kept.ok()) return Fail(kept.error());
  UniqueFd shim_group = cgroup::Cgroup::EnterShimGroup(spec->placement);
  const pid_t creator = getpid();
  auto cloned = Clone({.cgroup_fd = shim_group.get()});
  if (!cloned.ok()) return Fail(cloned.error());
  if (cloned->pid == 0) {
    shim_group.reset();
    sync->parent.reset();
    BecomeShim(std::move(*spec), std::move(*cgroup), std::move(sync->child), creator);
  }
  sync->child.reset();
  auto outcome = ReceiveMessage(sync->parent.get());
  if (!outcome.ok()) return Fail(outcome.error());
  if (outcome->text.starts_with("E")) return Fail(Error{outcome->text.substr(1)});
  if (!outcome->text.starts_with("R")) return Fail(Error{"shim: ended before the container was ready"});
  printf("%s\n", outcome->text.c_str() + 1);
  return 0;
}

}  // namespace
}  // namespace starling

int main(int argc, char** argv) {
  if (argc != 3 || strcmp(argv[1], "create") != 0) {
    fprintf(stderr, "usage: starling-shim create BUNDLE\n");
    return 2;
  }
  if (long sealed = starling::RunFromReadonlyMount(argv, environ); sealed != 0) {
    return starling::Fail(starling::Error::Errno("shim: no read-only mount of its own program", "", static_cast<int>(-sealed)));
  }
  return starling::Create(argv[2]);
}
