#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <csignal>

#include "../runtime/capabilities.h"
#include "../runtime/process.h"
#include "../runtime/sync_socket.h"
#include "../sys/clone.h"
#include "../sys/fs.h"
#include "container.h"
#include "cpu_list.h"
#include "init.h"
#include "seccomp_agent.h"
#include "terminal.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace starling::oci {
namespace {

// The namespaces of `pid` that are not this process's own: joining one's own user namespace is refused.
int OtherNamespaces(pid_t pid) {
  struct Kind {
    const char* file;
    int flag;
  };
  constexpr Kind kKinds[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
                             {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};
  int flags = 0;
  for (const Kind& kind : kKinds) {
    struct stat own;
    struct stat theirs;
    std::string file = std::string("/ns/") + kind.file;
    if (stat(("/proc/self" + file).c_str(), &own) != 0 || stat(("/proc/" + std::to_string(pid) + file).c_str(), &theirs) != 0) continue;
    if (own.st_ino != theirs.st_ino) flags |= kind.flag;
  }
  return flags;
}

Status ChangeUser(const std::string& text, Process& process) {
  size_t colon = text.find(':');
  auto number = [](std::string_view part, uint32_t& out) {
    auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), out);
    return problem == std::errc() && end == part.data() + part.size() && out < UINT32_MAX;
  };
  bool good = number(std::string_view(text).substr(0, colon), process.uid);
  if (colon != std::string::npos) good = good && number(std::string_view(text).substr(colon + 1), process.gid);
  if (good) return {};
  return Error{"--user `" + text + "`: must be UID or UID:GID, in numbers", EINVAL};
}

Result<Process> ProcessOf(const Config& config, const ExecOptions& options) {
  std::vector<std::string> warnings;
  if (!options.process_file.empty()) {
    STARLING_ASSIGN(text, fs::ReadFile(options.process_file));
    return ParseProcessObject(text, &warnings);
  }
  Process process = config.process.value_or(Process{});
  process.args = options.args;
  process.terminal = options.terminal;
  for (const std::string& variable : options.env) process.env.push_back(variable);
  if (!options.cwd.empty()) process.cwd = options.cwd;
  if (!process.cwd.starts_with('/')) return Error{"--cwd `" + process.cwd + "`: must be an absolute path", EINVAL};
  if (!options.user.empty()) STARLING_TRY(ChangeUser(options.user, process));
  for (uint32_t gid : options.additional_gids) process.additional_gids.push_back(gid);
  process.no_new_privileges = process.no_new_privileges || options.no_new_privileges;
  for (const std::string& name : options.capabilities) {
    int capability = CapabilityNumber(name);
    if (capability < 0) return Error{"--cap `" + name + "`: unknown capability", EINVAL};
    uint64_t bit = uint64_t{1} << capability;
    if (!process.capabilities) process.capabilities.emplace();
    Capabilities& sets = *process.capabilities;
    for (uint64_t* set : {&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient}) *set |= bit;
  }
  return process;
}

// In the container already: a child of the runtime, by CLONE_PARENT.
[[noreturn]] void RunProgram(Launch& launch, const cgroup::Cgroup& cgroup, int sync) {
  setsid();
  if (Status joined = cgroup.JoinSelf(); !joined.ok()) FailInit(sync, joined.error());
  if (!launch.process.cpus_final.empty()) {
    if (Status bound = BindToCpus(launch.process.cpus_final); !bound.ok()) FailInit(sync, bound.error());
  }
  Terminal terminal;
  if (launch.process.terminal) {
    auto made = OpenTerminal();
    if (!made.ok()) FailInit(sync, made.error());
    terminal = std::move(*made);
    launch.terminal = terminal.slave.get();
    if (!SendMessage(sync, "T", terminal.master.get()).ok()) _exit(1);
    terminal.master.reset();
  }
  if (Status found = Locate(launch); !found.ok()) FailInit(sync, found.error());
  FailInit(sync, Become(launch, sync));
}

// Enters the namespaces and makes the real child.
[[noreturn]] void RunHelper(Launch& launch, const Record& record, int pidfd, const cgroup::Cgroup& cgroup, int sync) {
  // What runs in the container from here on is this program: nobody inside may look into it.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (!launch.process.cpus_initial.empty()) {
    if (Status bound = BindToCpus(launch.process.cpus_initial); !bound.ok()) FailInit(sync, bound.error());
  }
  if (Status done = ApplyOnHost(launch.process); !done.ok()) FailInit(sync, done.error());
  int flags = OtherNamespaces(record.pid);
  if (flags != 0 && setns(pidfd, flags) != 0) FailInit(sync, Error::Errno("setns", "container"));
  auto child = Clone({.flags = CLONE_PARENT, .cgroup_fd = cgroup.v2_fd()});
  if (!child.ok()) FailInit(sync, child.error());
  if (child->pid == 0) RunProgram(launch, cgroup, sync);
  (void)SendMessage(sync, "P" + std::to_string(child->pid)).ok();
  _exit(0);
}

Result<Executed> Converse(const Config& config, const Record& record, const ExecOptions& options, int sync, pid_t helper) {
  Executed executed;
  Status outcome;
  for (;;) {
    auto message = ReceiveMessage(sync);
    if (!message.ok() || message->text.empty()) break;
    if (message->text[0] == 'P') executed.pid = static_cast<pid_t>(std::atoi(message->text.c_str() + 1));
    if (message->text[0] == 'T' && !options.console_socket.empty()) {
      outcome = SendTerminal(options.console_socket, message->attached.get());
    } else if (message->text[0] == 'T') {
      executed.terminal = std::move(message->attached);
    }
    if (message->text[0] == 'N') outcome = TellSeccompAgent(*config.seccomp, record, message->attached.get());
    if (message->text[0] == 'E') outcome = Error{message->text.substr(1), kExecFailed};
    if (!outcome.ok()) break;
  }
  waitpid(helper, nullptr, 0);
  if (outcome.ok() && executed.pid == 0) outcome = Error{"exec: the container has ended", ESRCH};
  if (outcome.ok()) return executed;
  if (executed.pid > 0) {
    kill(executed.pid, SIGKILL);
    waitpid(executed.pid, nullptr, 0);
  }
  return outcome.error();
}

}  // namespace

Result<Executed> ExecInContainer(const Store& store, const std::string& id, const ExecOptions& options) {
  STARLING_ASSIGN(record, store.Load(id));
  Stage stage = store.StageOf(record);
  if (stage == Stage::kStopped || stage == Stage::kCreating || stage == Stage::kPaused) {
    return Error{"exec: container `" + id + "` is " + NameOf(stage), EINVAL};
  }
  STARLING_ASSIGN(text, store.LoadConfig(id));
  STARLING_ASSIGN(config, ParseConfig(text, record.bundle));
  STARLING_ASSIGN(process, ProcessOf(config, options));
  bool terminal = process.terminal;
  if (terminal && options.console_socket.empty() && !options.keeps_terminal) {
    return Error{"--console-socket: a detached exec with a terminal needs it", EINVAL};
  }
  Launch launch;
  launch.process = std::move(process);
  launch.personality = config.personality;
  launch.preserved_fds = options.preserved_fds;
  if (config.seccomp) {
    STARLING_ASSIGN(filter, CompileSeccomp(*config.seccomp));
    launch.filter = std::move(filter);
    launch.filter_flags = config.seccomp->flags;
    launch.notifies = config.seccomp->notifies;
  }
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, record.pid, 0)));
  if (!pidfd || StartTime(record.pid) != record.start_time) return Error::Errno("exec", id, ESRCH);
  STARLING_ASSIGN(cgroup, cgroup::Cgroup::At(record.cgroups));
  STARLING_TRY(cgroup.OpenForJoin());
  STARLING_ASSIGN(sync, MakeSyncPair());
  STARLING_ASSIGN(helper, Clone({}));
  if (helper.pid == 0) {
    sync.parent.reset();
    RunHelper(launch, record, pidfd.get(), cgroup, sync.child.get());
  }
  sync.child.reset();
  auto executed = Converse(config, record, options, sync.parent.get(), helper.pid);
  if (executed.ok() && !options.pid_file.empty()) STARLING_TRY(WritePidFile(options.pid_file, executed->pid));
  return executed;
}

}  // namespace starling::oci
