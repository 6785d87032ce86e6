#include "init.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace starling {

void ForkFromInit() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  pid_t child = fork();
  if (child < 0) _exit(70);
  if (child == 0) {
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    return;
  }
  close_range(3, ~0U, 0);
  for (;;) {
    int number = 0;
    if (sigwait(&all, &number) != 0) continue;
    if (number != SIGCHLD) {
      kill(-child, number);
      continue;
    }
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != child) continue;
      _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
  }
}

}  // namespace starling
