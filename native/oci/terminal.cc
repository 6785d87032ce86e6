#include "terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "../runtime/sync_socket.h"
#include "../sys/fs.h"

namespace starling::oci {
namespace {

sigset_t ForwardedSignals() {
  sigset_t set;
  sigfillset(&set);
  for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTTIN, SIGTTOU}) sigdelset(&set, number);
  return set;
}

// Puts this process's terminal into raw mode while it lives.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(0, &before_) != 0) return;
    raw_ = true;
    termios raw = before_;
    cfmakeraw(&raw);
    tcsetattr(0, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (raw_) tcsetattr(0, TCSANOW, &before_);
  }

 private:
  termios before_ = {};
  bool raw_ = false;
};

void CopySize(int master) {
  winsize size;
  if (ioctl(0, TIOCGWINSZ, &size) == 0) ioctl(master, TIOCSWINSZ, &size);
}

// What is there now; false at the end. The write may wait for a slow reader: the program waits with it, as on a terminal.
bool Pass(int from, int to) {
  char buffer[4096];
  ssize_t count = read(from, buffer, sizeof buffer);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  return count > 0 && fs::WriteAll(to, std::string_view(buffer, static_cast<size_t>(count)), "terminal").ok();
}

}  // namespace

Status SendTerminal(const std::string& path, int master) {
  sockaddr_un address;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error::Errno("--console-socket", path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection) return Error::Errno("socket", "");
  if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Error::Errno("--console-socket: connect", path);
  return SendMessage(connection.get(), "/dev/pts/ptmx", master);
}

void BlockSignals() {
  sigset_t set = ForwardedSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

int AwaitProgram(pid_t pid, int master) {
  sigset_t set = ForwardedSignals();
  UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  RawTerminal* raw = master >= 0 ? new RawTerminal() : nullptr;
  if (master >= 0) CopySize(master);
  int code = -1;
  bool input_open = master >= 0;
  bool output_open = master >= 0;
  while (code < 0 || output_open) {
    pollfd fds[3] = {{signals.get(), POLLIN, 0}, {output_open ? master : -1, POLLIN, 0}, {input_open && code < 0 ? 0 : -1, POLLIN, 0}};
    // After the program's end only what is in the terminal already counts: children may hold it open for ever.
    int ready = poll(fds, 3, code < 0 ? -1 : 0);
    if (ready < 0 && errno != EINTR) break;
    if (ready == 0 && code >= 0) break;
    if (fds[1].revents != 0) output_open = Pass(master, 1);
    if (fds[2].revents != 0) input_open = Pass(0, master);
    signalfd_siginfo info;
    while (read(signals.get(), &info, sizeof info) == sizeof info) {
      auto number = static_cast<int>(info.ssi_signo);
      if (number == SIGWINCH && master >= 0) {
        CopySize(master);
      } else if (number != SIGCHLD) {
        kill(pid, number);
      }
    }
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended == pid) code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
  delete raw;
  return code;
}

}  // namespace starling::oci
