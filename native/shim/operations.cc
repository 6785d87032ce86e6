#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "clock.h"
#include "requests.h"
#include "shim.h"

namespace starling {
namespace {

constexpr int64_t kOutputMaxBytes = 1 << 20;
constexpr int64_t kTimeoutMaxMs = 24LL * 3600 * 1000;

// A pipe that already holds `text` and is closed behind it. Longer texts than a pipe takes are refused.
Result<UniqueFd> FilledPipe(std::string_view text) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return Error::Errno("pipe", "");
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ssize_t written = write(writer.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) return Error{"stdin: more than a pipe holds (64 KiB)", E2BIG};
  fcntl(reader.get(), F_SETFL, 0);
  return reader;
}

}  // namespace

Status Shim::Start() {
  if (started_) return Error{"already started", EALREADY};
  started_ = true;
  Status outcome = StartContainer(container_);
  started_ms_ = WallMs();
  if (!outcome.ok()) start_error_ = outcome.error().message;
  return outcome;
}

Status Shim::Signal(int64_t number) {
  if (number < 1 || number > 64) return Error{"signal: must be 1 to 64, not " + std::to_string(number), EINVAL};
  if (syscall(SYS_pidfd_send_signal, container_.pidfd.get(), number, nullptr, 0) != 0 && errno != ESRCH) {
    return Error::Errno("signal", std::to_string(container_.pid));
  }
  return {};
}

Status Shim::Kill() {
  if (cgroup_.KillAll()) return {};
  if (paused_) STARLING_TRY(cgroup_.Freeze(false));
  KillProcesses();
  return Signal(SIGKILL);
}

void Shim::KillProcesses() const {
  if (!spec_.host.pid) return;
  for (int pid : cgroup_.Processes()) kill(pid, SIGKILL);
}

Status Shim::Resize(const json::Value& request) {
  winsize size = WindowSize(request);
  if (!spec_.process.tty) return Error{"resize: the container has no terminal", ENOTTY};
  if (ioctl(output_[0].get(), TIOCSWINSZ, &size) != 0) return Error::Errno("resize", "terminal");
  return {};
}

void Shim::BeginExec(Client& client, int64_t id, const json::Value& request) {
  auto begin = [&]() -> Result<Exec> {
    if (!started_ || !start_error_.empty()) return Error{"exec: the container does not run", ESRCH};
    STARLING_ASSIGN(parsed, ExecProcess(request, spec_.process));
    parsed.tty = false;
    Exec exec;
    UniqueFd input;
    const json::Value* stdin_text = request.Find("stdin");
    if (stdin_text != nullptr) {
      STARLING_ASSIGN(filled, FilledPipe(stdin_text->string));
      input = std::move(filled);
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return Error::Errno("pipe", "");
    exec.output.reset(ends[0]);
    UniqueFd writer(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    Stdio stdio = {input.get(), writer.get(), writer.get()};
    STARLING_ASSIGN(executed, ExecuteInContainer(parsed, container_.pidfd.get(), cgroup_, spec_.root.ids, stdio));
    exec.pid = executed.pid;
    exec.output_max = static_cast<size_t>(std::clamp<int64_t>(IntMember(request, "outputMaxBytes", 4096), 0, kOutputMaxBytes));
    int64_t timeout_ms = std::clamp<int64_t>(IntMember(request, "timeoutMs", 0), 0, kTimeoutMaxMs);
    if (timeout_ms > 0) exec.deadline_ms = MonotonicMs() + timeout_ms;
    return exec;
  };
  auto exec = begin();
  if (!exec.ok()) {
    AnswerStatus(client, id, exec.error());
    return;
  }
  exec->waiter = Waiter{client.key, id};
  execs_.push_back(std::move(*exec));
}

void Shim::ReadExec(Exec& exec) {
  char buffer[4096];
  while (exec.output) {
    ssize_t count = read(exec.output.get(), buffer, sizeof buffer);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      exec.output.reset();
      return;
    }
    size_t room = exec.output_max - std::min(exec.output_max, exec.collected.size());
    exec.collected.append(buffer, std::min(room, static_cast<size_t>(count)));
  }
}

void Shim::EndExecs() {
  int64_t now_ms = execs_.empty() ? 0 : MonotonicMs();
  for (Exec& exec : execs_) {
    if (exec.deadline_ms > 0 && exec.deadline_ms <= now_ms && !exec.exit_code) {
      exec.timed_out = true;
      exec.deadline_ms = 0;
      kill(exec.pid, SIGKILL);
    }
    if (!exec.exit_code) continue;
    // Children that it left behind may hold the pipe open for ever: its own end counts.
    ReadExec(exec);
    json::Object members;
    members.Int("exitCode", *exec.exit_code).Bool("timedOut", exec.timed_out).String("output", exec.collected);
    Answer(exec.waiter.client_key, exec.waiter.request_id, members);
  }
  std::erase_if(execs_, [](const Exec& exec) { return exec.exit_code.has_value(); });
}

void Shim::DescribeState(json::Object& members) const {
  members.String("state", exit_ ? "exited" : started_ ? "running" : "created");
  members.Int("pid", container_.pid).Bool("paused", paused_);
  members.Int("createdAtMs", created_ms_).Int("startedAtMs", started_ms_);
  members.Int("logDroppedWrites", log_.dropped_writes());
}

void Shim::DescribeTop(json::Object& members) const {
  std::string pids;
  for (int pid : cgroup_.Processes()) pids.append(pids.empty() ? "" : ",").append(std::to_string(pid));
  members.Raw("pids", "[" + pids + "]");
}

void Shim::DescribeExit(json::Object& members) const {
  members.Int("exitCode", exit_->code).Int("signal", exit_->signal).Bool("oomKilled", exit_->oom_killed);
  members.Int("startedAtMs", started_ms_).Int("finishedAtMs", exit_->finished_ms);
  members.String("error", exit_->error);
}

void Shim::DescribeStats(json::Object& members) const {
  cgroup::Stats stats = cgroup_.ReadStats();
  members.Int("cpuUsageNs", stats.cpu_usage_ns).Int("memoryBytes", stats.memory_bytes);
  members.Int("memoryLimitBytes", stats.memory_limit_bytes).Int("pids", stats.pids).Int("oomKills", stats.oom_kills);
}

}  // namespace starling
