#include "../unpack/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "../sys/fs.h"
#include "check.h"

namespace starling {
namespace {

// An empty folder, and one below it, as a layer's.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/starling-sandbox-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { (void)!system(("rm -rf " + path_).c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

enum class Outcome { kDone, kRefused, kKilled, kBroken };

// What becomes of `deed` in a process of its own, which is locked in before if `locked`.
Outcome Try(bool (*deed)(), bool locked) {
  Folder folder;
  pid_t child = fork();
  if (child == 0) {
    if (locked) {
      auto root = fs::Open(folder.path(), O_RDONLY | O_DIRECTORY);
      if (!root.ok() || !Isolate().ok() || !EnterFolder(*root).ok() || !LockDown().ok()) _exit(9);
    }
    int outcome = deed() ? 0 : 1;
    // Not _exit: under the sanitizers it does more than to end.
    for (;;) syscall(SYS_exit_group, outcome);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return Outcome::kBroken;
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? Outcome::kKilled : Outcome::kBroken;
  switch (WEXITSTATUS(status)) {
    case 0: return Outcome::kDone;
    case 1: return Outcome::kRefused;
    default: return Outcome::kBroken;
  }
}

bool OpensHostFile() { return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0; }
bool ClimbsOut() { return open("../../../../../../etc/passwd", O_RDONLY | O_CLOEXEC) >= 0; }
bool OpensSocket() { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
bool OpensUnixSocket() { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }
bool RunsProgram() {
  char* const argv[] = {const_cast<char*>("true"), nullptr};
  execve("/bin/true", argv, nullptr);
  return false;
}
bool Forks() {
  // Not fork(): it would run handlers of the library.
  long child = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) _exit(0);
  return child > 0;
}
bool Mounts() {
  if (unshare(CLONE_NEWNS) != 0) return false;
  if (mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return false;
  return mount("none", "/tmp", "tmpfs", 0, nullptr) == 0;
}
bool ChangesRoot() { return chroot("/") == 0; }
bool SignalsParent() { return kill(getppid(), 0) == 0; }
bool Traces() { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; }
bool ReadsMemoryOfParent() {
  char byte;
  iovec here = {&byte, 1};
  iovec there = {const_cast<char*>("x"), 1};
  return syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0) == 1;
}
bool TakesMemory() { return mmap(nullptr, size_t{2} << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED; }
bool TakesDescriptors() {
  for (int i = 0; i < 1024; i++) {
    if (fcntl(1, F_DUPFD_CLOEXEC, 0) < 0) return false;
  }
  return true;
}

struct Deed {
  const char* name;
  bool (*act)();
  Outcome locked;
};

constexpr Deed kDeeds[] = {
    {"open a file of the host", OpensHostFile, Outcome::kRefused},
    {"climb out of the folder", ClimbsOut, Outcome::kRefused},
    {"open a socket", OpensSocket, Outcome::kKilled},
    {"open a socket of the host", OpensUnixSocket, Outcome::kKilled},
    {"run a program", RunsProgram, Outcome::kKilled},
    {"fork", Forks, Outcome::kKilled},
    {"mount", Mounts, Outcome::kKilled},
    {"change the root", ChangesRoot, Outcome::kKilled},
    {"signal another process", SignalsParent, Outcome::kKilled},
    {"trace", Traces, Outcome::kKilled},
    {"read another process's memory", ReadsMemoryOfParent, Outcome::kKilled},
    {"take 2 GiB of memory", TakesMemory, Outcome::kRefused},
    {"take 1,024 descriptors", TakesDescriptors, Outcome::kRefused},
};

TEST(unpacker_that_is_taken_over_is_locked_in) {
  for (const Deed& deed : kDeeds) {
    bool free = Try(deed.act, false) == Outcome::kDone;
    if (!free) fprintf(stderr, "%s: does not work without protection either\n", deed.name);
    CHECK(free);
    Outcome outcome = Try(deed.act, true);
    if (outcome != deed.locked) fprintf(stderr, "%s: outcome %d\n", deed.name, static_cast<int>(outcome));
    CHECK(outcome == deed.locked);
  }
}

}  // namespace
}  // namespace starling
