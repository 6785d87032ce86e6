#include "commands.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "../../oci/container.h"
#include "../../oci/terminal.h"

namespace starling::run {
namespace {

Result<unsigned> Number(const Parsed& parsed, const std::string& name) {
  std::string text = parsed.Value(name, "0");
  unsigned value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value > 1024) {
    return Error{"--" + name + " `" + text + "`: must be a number up to 1024", EINVAL};
  }
  return value;
}

// Sockets handed over by systemd follow those that --preserve-fds names (sd_listen_fds(3)).
unsigned ListenFds() {
  const char* count = getenv("LISTEN_FDS");
  return count == nullptr ? 0U : static_cast<unsigned>(std::clamp(std::atoi(count), 0, 1024));
}

Result<oci::CreateOptions> CreateOptionsOf(const Parsed& parsed) {
  oci::CreateOptions options;
  options.bundle = parsed.Value("bundle", ".");
  options.config_file = parsed.Value("config");
  options.pid_file = parsed.Value("pid-file");
  options.console_socket = parsed.Value("console-socket");
  STARLING_ASSIGN(preserved, Number(parsed, "preserve-fds"));
  options.preserved_fds = preserved + ListenFds();
  return options;
}

Result<int> Create(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_ASSIGN(options, CreateOptionsOf(parsed));
  STARLING_TRY(oci::CreateContainer(store, id, options));
  return 0;
}

Result<int> Run(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_ASSIGN(options, CreateOptionsOf(parsed));
  bool detach = parsed.Has("detach");
  options.keeps_terminal = !detach && options.console_socket.empty();
  if (!detach) oci::BlockSignals();
  STARLING_ASSIGN(created, oci::CreateContainer(store, id, options));
  STARLING_TRY(oci::StartContainer(store, id));
  if (detach) return 0;
  int code = oci::AwaitProgram(created.record.pid, created.terminal.get());
  STARLING_TRY(oci::DeleteContainer(store, id, true));
  return code;
}

Result<int> Start(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_TRY(oci::StartContainer(store, id));
  return 0;
}

// "TERM", "SIGTERM", "15", "RTMIN+3"
int SignalNumber(std::string name) {
  int number = 0;
  auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (problem == std::errc() && end == name.data() + name.size()) return number >= 1 && number <= 64 ? number : -1;
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (name.starts_with("SIG")) name.erase(0, 3);
  if (name.starts_with("RTMIN")) {
    int offset = name.size() > 6 ? std::atoi(name.c_str() + 6) : 0;
    return SIGRTMIN + offset <= SIGRTMAX ? SIGRTMIN + offset : -1;
  }
  for (int candidate = 1; candidate < 32; candidate++) {
    const char* known = sigabbrev_np(candidate);
    if (known != nullptr && name == known) return candidate;
  }
  return -1;
}

Result<int> Kill(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed, true));
  std::string name = parsed.words.size() > 1 ? parsed.words[1] : "SIGTERM";
  int number = SignalNumber(name);
  if (number < 0) return Error{"signal `" + name + "`: unknown", EINVAL};
  STARLING_TRY(oci::KillContainer(store, id, number, parsed.Has("all")));
  return 0;
}

Result<int> Delete(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_TRY(oci::DeleteContainer(store, id, parsed.Has("force")));
  return 0;
}

Result<int> Pause(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_TRY(oci::FreezeContainer(store, id, true));
  return 0;
}

Result<int> Resume(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed));
  STARLING_TRY(oci::FreezeContainer(store, id, false));
  return 0;
}

Result<int> Exec(const oci::Store& store, const Parsed& parsed) {
  STARLING_ASSIGN(id, ContainerOf(parsed, true));
  oci::ExecOptions options;
  options.process_file = parsed.Value("process");
  options.args.assign(parsed.words.begin() + 1, parsed.words.end());
  if (options.args.empty() && options.process_file.empty()) return Error{"exec: name a program, or give --process", EINVAL};
  options.terminal = parsed.Has("tty");
  options.env = parsed.All("env");
  options.cwd = parsed.Value("cwd");
  options.user = parsed.Value("user");
  options.capabilities = parsed.All("cap");
  options.no_new_privileges = parsed.Has("no-new-privs");
  options.pid_file = parsed.Value("pid-file");
  options.console_socket = parsed.Value("console-socket");
  STARLING_ASSIGN(preserved, Number(parsed, "preserve-fds"));
  options.preserved_fds = preserved;
  bool detach = parsed.Has("detach");
  options.keeps_terminal = !detach && options.console_socket.empty();
  if (!detach) oci::BlockSignals();
  STARLING_ASSIGN(executed, oci::ExecInContainer(store, id, options));
  return detach ? 0 : oci::AwaitProgram(executed.pid, executed.terminal.get());
}

const std::vector<Option> kCreateOptions = {
    {"bundle", 'b', true},         {"config", 'f', true},    {"pid-file", 0, true},
    {"console-socket", 0, true},   {"preserve-fds", 0, true}, {"detach", 'd', false},
    {"no-pivot", 0, false},        {"no-new-keyring", 0, false},
};

const Command kCommands[] = {
    {"create", kCreateOptions, false, Create},
    {"run", kCreateOptions, false, Run},
    {"start", {}, false, Start},
    {"state", {}, false, ShowState},
    {"kill", {{"all", 'a', false}}, false, Kill},
    {"delete", {{"force", 'f', false}}, false, Delete},
    {"pause", {}, false, Pause},
    {"resume", {}, false, Resume},
    {"exec",
     {{"process", 'p', true},
      {"tty", 't', false},
      {"env", 'e', true},
      {"cwd", 0, true},
      {"user", 'u', true},
      {"detach", 'd', false},
      {"pid-file", 0, true},
      {"console-socket", 0, true},
      {"preserve-fds", 0, true},
      {"cap", 'c', true},
      {"no-new-privs", 0, false}},
     true,
     Exec},
    {"list", {{"quiet", 'q', false}, {"format", 'f', true}}, false, ShowList},
    {"ps", {{"format", 'f', true}}, false, ShowProcesses},
    {"spec", {{"bundle", 'b', true}, {"rootless", 0, false}}, false, WriteSpec},
};

}  // namespace

const Command* FindCommand(const std::string& name) {
  for (const Command& command : kCommands) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

Result<std::string> ContainerOf(const Parsed& parsed, bool more) {
  if (parsed.words.empty()) return Error{"name a container", EINVAL};
  if (!more && parsed.words.size() > 1) return Error{"`" + parsed.words[1] + "`: one word too many", EINVAL};
  return parsed.words[0];
}

}  // namespace starling::run
