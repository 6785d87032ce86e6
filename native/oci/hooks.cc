#include "hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "../runtime/process.h"
#include "../sys/clone.h"
#include "../sys/fs.h"

namespace starling::oci {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// A file in memory takes a state of any length before anyone reads it.
Result<UniqueFd> StateFile(std::string_view state) {
  UniqueFd file(memfd_create("state", MFD_CLOEXEC));
  if (!file) return Error::Errno("memfd_create", "state");
  STARLING_TRY(fs::WriteAll(file.get(), state, "state"));
  if (lseek(file.get(), 0, SEEK_SET) != 0) return Error::Errno("lseek", "state");
  return file;
}

[[noreturn]] void BecomeHook(const Hook& hook, int input) {
  std::vector<char*> args = Pointers(hook.args);
  std::vector<char*> env = Pointers(hook.env);
  ResetSignals();
  dup2(input, 0);
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, 1);
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  execve(hook.path.c_str(), args.data(), env.data());
  _exit(127);
}

Status RunHook(const Hook& hook, std::string_view kind, std::string_view state) {
  auto failed = [&](const std::string& problem) {
    return Error{"hooks." + std::string(kind) + " `" + hook.path + "`: " + problem, kHookFailed};
  };
  STARLING_ASSIGN(input, StateFile(state));
  STARLING_ASSIGN(child, Clone({}));
  if (child.pid == 0) BecomeHook(hook, input.get());
  pollfd ended = {child.pidfd.get(), POLLIN, 0};
  int timeout_ms = hook.timeout_s == 0 ? -1 : static_cast<int>(std::min<int64_t>(hook.timeout_s, 2'000'000) * 1000);
  int ready;
  do {
    ready = poll(&ended, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) kill(child.pid, SIGKILL);
  int status = 0;
  while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ready == 0) return failed("ran longer than " + std::to_string(hook.timeout_s) + " s");
  if (WIFSIGNALED(status)) return failed("ended by signal " + std::to_string(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return failed("exit code " + std::to_string(WEXITSTATUS(status)));
  return {};
}

}  // namespace

Status RunHooks(const std::vector<Hook>& hooks, std::string_view kind, std::string_view state) {
  for (const Hook& hook : hooks) STARLING_TRY(RunHook(hook, kind, state));
  return {};
}

}  // namespace starling::oci
