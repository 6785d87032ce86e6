#include "shim.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>

#include "../sys/fs.h"
#include "clock.h"
#include "name_sockets.h"

namespace starling {
namespace {

constexpr char kSocket[] = "shim.sock";
constexpr char kExitFile[] = "exit.json";
constexpr size_t kReadBytes = 16 << 10;
// How long the shim lingers for clients that do not take their last answers.
constexpr int64_t kLastAnswersMs = 1'000;

Result<UniqueFd> BlockChildSignals() {
  sigset_t set;
  sigemptyset(&set);
  // Nobody's signal ends a shim but SIGKILL: ending it ends the container.
  for (int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return Error::Errno("sigprocmask", "");
  signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return Error::Errno("signalfd", "");
  return fd;
}

}  // namespace

Result<std::unique_ptr<Shim>> Shim::Create(Spec spec, cgroup::Cgroup cgroup) {
  std::unique_ptr<Shim> shim(new Shim());
  shim->spec_ = std::move(spec);
  shim->cgroup_ = std::move(cgroup);
  shim->created_ms_ = WallMs();
  STARLING_ASSIGN(signals, BlockChildSignals());
  shim->child_signals_ = std::move(signals);
  STARLING_ASSIGN(log, LogWriter::Open(shim->spec_.log));
  shim->log_ = std::move(log);
  STARLING_TRY(shim->Listen());
  auto make = [&]() -> Status {
    STARLING_TRY(shim->cgroup_.Create(shim->spec_.limits));
    Stdio stdio;
    UniqueFd writers[2];
    UniqueFd reader;
    if (!shim->spec_.process.tty) {
      for (int i = 0; i < 2; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) return Error::Errno("pipe", "");
        shim->output_[i].reset(ends[0]);
        writers[i].reset(ends[1]);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
      }
      if (shim->spec_.process.open_stdin) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) return Error::Errno("pipe", "");
        reader.reset(ends[0]);
        shim->input_.reset(ends[1]);
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        stdio.in = reader.get();
      }
      stdio.out = writers[0].get();
      stdio.err = writers[1].get();
    }
    STARLING_ASSIGN(container, CreateContainer(shim->spec_, shim->cgroup_, stdio));
    shim->container_ = std::move(container);
    // Without them swarmd makes sockets of its own, which end with it.
    if (!shim->spec_.host.network) (void)HoldNameSockets(shim->container_.pid).ok();
    return {};
  };
  if (Status made = make(); !made.ok()) {
    (void)shim->cgroup_.Remove().ok();
    unlink(kSocket);
    return made.error();
  }
  if (shim->container_.terminal) {
    shim->output_[0] = std::move(shim->container_.terminal);
    fcntl(shim->output_[0].get(), F_SETFL, O_NONBLOCK);
  }
  return shim;
}

Status Shim::Listen() {
  listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_) return Error::Errno("socket", "");
  sockaddr_un address;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  // Relative to the bundle, so that its path may have any length.
  std::strcpy(address.sun_path, kSocket);
  unlink(kSocket);
  mode_t old_mask = umask(0177);
  int bound = bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  umask(old_mask);
  if (bound != 0) return Error::Errno("bind", kSocket);
  if (listen(listener_.get(), 16) != 0) return Error::Errno("listen", kSocket);
  return {};
}

void Shim::Serve() {
  while (!exit_) Poll();
  Finish();
}

void Shim::Poll() {
  std::vector<pollfd> fds;
  auto add = [&](int fd, short events) {
    fds.push_back(pollfd{fd, events, 0});
    return fds.size() - 1;
  };
  add(child_signals_.get(), POLLIN);
  add(listener_.get(), POLLIN);
  // poll skips negative descriptors: ended streams stay in their places.
  add(output_[0].get(), POLLIN);
  add(output_[1].get(), POLLIN);
  size_t first_exec = fds.size();
  int64_t deadline_ms = 0;
  for (const Exec& exec : execs_) {
    add(exec.output.get(), POLLIN);
    if (exec.deadline_ms > 0 && (deadline_ms == 0 || exec.deadline_ms < deadline_ms)) deadline_ms = exec.deadline_ms;
  }
  size_t first_session = fds.size();
  for (const Session& session : sessions_) {
    bool has_room = HasRoom(session);
    add(has_room ? session.output[0].get() : -1, POLLIN);
    add(has_room ? session.output[1].get() : -1, POLLIN);
    const UniqueFd& input = session.id == 0 ? InputOfContainer() : session.input;
    add(session.waiting_write ? input.get() : -1, POLLOUT);
  }
  size_t sessions = sessions_.size();
  size_t first_client = fds.size();
  for (const Client& client : clients_) {
    add(client.fd.get(), static_cast<short>(POLLIN | (client.output.empty() ? 0 : POLLOUT)));
  }
  int timeout = -1;
  if (deadline_ms > 0) timeout = static_cast<int>(std::clamp<int64_t>(deadline_ms - MonotonicMs(), 0, 1 << 30));
  if (poll(fds.data(), fds.size(), timeout) < 0) return;
  if (fds[2].revents != 0) ReadOutput(Stream::kStdout);
  if (fds[3].revents != 0) ReadOutput(Stream::kStderr);
  for (size_t i = first_exec; i < first_session; i++) {
    if (fds[i].revents != 0) ReadExec(execs_[i - first_exec]);
  }
  for (size_t i = 0; i < sessions; i++) {
    const pollfd* of_session = &fds[first_session + 3 * i];
    if (of_session[0].revents != 0) ReadSession(sessions_[i], Stream::kStdout, false);
    if (of_session[1].revents != 0) ReadSession(sessions_[i], Stream::kStderr, false);
    if (of_session[2].revents != 0) WriteInput(sessions_[i]);
  }
  // Handling a request may add execs, never clients: indexes of clients hold until Accept.
  for (size_t i = first_client; i < fds.size(); i++) {
    Client& client = clients_[i - first_client];
    if ((fds[i].revents & POLLOUT) != 0) FlushClient(client);
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) ReadClient(client);
  }
  if (fds[1].revents != 0) Accept();
  if (fds[0].revents != 0) Reap();
  EndExecs();
  EndSessions();
  std::erase_if(clients_, [](const Client& client) { return client.closed; });
}

void Shim::ReadOutput(Stream stream) {
  UniqueFd& fd = output_[stream == Stream::kStdout ? 0 : 1];
  char buffer[kReadBytes];
  for (int rounds = 0; fd && rounds < 16; rounds++) {
    ssize_t count = read(fd.get(), buffer, sizeof buffer);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {  // End of file; EIO of a terminal whose program has ended.
      log_.Finish(stream);
      fd.reset();
      return;
    }
    std::string_view data(buffer, static_cast<size_t>(count));
    log_.Append(stream, data);
    for (const Session& session : sessions_) {
      // The container must not wait for whoever looks on: a slow one misses what does not fit.
      if (session.id == 0 && HasRoom(session)) SendOutput(session.client_key, 0, stream, data);
    }
  }
}

void Shim::Reap() {
  signalfd_siginfo info;
  while (read(child_signals_.get(), &info, sizeof info) > 0) {
  }
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (pid == container_.pid) {
      // A program that could not be started: 127, as shells say it.
      if (!start_error_.empty()) code = 127;
      exit_ = Exit{code, WIFSIGNALED(status) ? WTERMSIG(status) : 0, false, start_error_, WallMs()};
      continue;
    }
    for (Exec& exec : execs_) {
      if (exec.pid == pid) exec.exit_code = code;
    }
    for (Session& session : sessions_) {
      if (session.id != 0 && session.pid == pid) session.exit_code = code;
    }
  }
}

void Shim::Finish() {
  // Everything of the PID namespace has ended with its init: what is in the pipes is all there will be. In the host's PID
  // namespace others may still write, and would for ever.
  if (spec_.host.pid && !cgroup_.KillAll()) KillProcesses();
  for (Stream stream : {Stream::kStdout, Stream::kStderr}) {
    UniqueFd& fd = output_[stream == Stream::kStdout ? 0 : 1];
    for (int rounds = 0; fd && rounds < 64; rounds++) ReadOutput(stream);
    log_.Finish(stream);
  }
  log_.Close();
  exit_->oom_killed = cgroup_.ReadStats().oom_kills > 0;
  json::Object file;
  file.Int("version", 1);
  DescribeExit(file);
  (void)fs::ReplaceFile(kExitFile, file.Done() + "\n", 0600).ok();
  Reap();
  for (Exec& exec : execs_) {
    ReadExec(exec);
    if (!exec.exit_code) exec.exit_code = 137;
    exec.output.reset();
  }
  EndExecs();
  for (Session& session : sessions_) {
    ReadSession(session, Stream::kStdout, true);
    ReadSession(session, Stream::kStderr, true);
    json::Object event;
    event.String("event", "exit").Int("exec", session.id);
    SendEvent(session.client_key, event.Int("exitCode", session.id == 0 ? exit_->code : session.exit_code.value_or(137)));
  }
  for (const Waiter& waiter : waiters_) {
    json::Object members;
    DescribeExit(members);
    Answer(waiter.client_key, waiter.request_id, members);
  }
  FlushAll(0);
  // rmdir is refused while the kernel still tears the last processes down.
  for (int attempt = 0; attempt < 200 && !cgroup_.Remove().ok(); attempt++) {
    if (attempt == 0 && !cgroup_.KillAll()) KillProcesses();
    usleep(2'000);
  }
  unlink(kSocket);
  FlushAll(kLastAnswersMs);
}

}  // namespace starling
