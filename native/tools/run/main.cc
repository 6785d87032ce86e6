// starling-run [GLOBAL OPTION…] COMMAND [OPTION…] [CONTAINER] [WORD…]: an OCI runtime of the core that swarmd's containers
// run on. Options, exit codes and output follow crun; what the config's members do is in ../../oci.
//
// Exit codes: of `run` and `exec` the program's, 128 + n when signal n ended it; 1 for any failure, but 255 when a hook
// failed or exec could not run its program.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "../../base/json.h"
#include "../../oci/container.h"
#include "../../oci/hooks.h"
#include "../../sys/fs.h"
#include "../../sys/own_program.h"
#include "commands.h"
#include "options.h"

namespace starling::run {
namespace {

constexpr char kUsage[] =
    "usage: starling-run [--root DIR] [--log FILE] [--log-format text|json] COMMAND\n"
    "  create|run [-b|--bundle DIR] [-f|--config FILE] [--pid-file FILE] [--console-socket PATH] [--preserve-fds N] [-d|--detach] ID\n"
    "  start ID | state ID | ps [-f table|json] ID | list [-q] [-f table|json] | pause ID | resume ID\n"
    "  kill [-a|--all] ID [SIGNAL] | delete [--force] ID\n"
    "  exec [-p|--process FILE] [-t|--tty] [-e|--env NAME=VALUE] [--cwd DIR] [-u|--user UID[:GID]] [-d|--detach] [--pid-file FILE]\n"
    "       [--console-socket PATH] [--preserve-fds N] [-c|--cap CAP] [--no-new-privs] ID [PROGRAM [ARGUMENT…]]\n"
    "  spec [-b|--bundle DIR] [--rootless]\n";

const std::vector<Option> kGlobal = {
    {"root", 0, true},           {"log", 0, true},       {"log-format", 0, true}, {"systemd-cgroup", 0, false},
    {"cgroup-manager", 0, true}, {"rootless", 0, true},  {"debug", 0, false},     {"help", 'h', false},
    {"version", 'v', false},
};

// One line on stderr, and one in the log that --log names.
int Report(const Error& error, const Parsed& global) {
  fprintf(stderr, "starling-run: %s\n", error.message.c_str());
  if (global.Has("log")) {
    std::string text = "time=\"" + oci::Now() + "\" level=error msg=";
    json::AppendString(text, error.message);
    if (global.Value("log-format") == "json") {
      text = json::Object().String("level", "error").String("msg", error.message).String("time", oci::Now()).Done();
    }
    auto file = fs::Open(global.Value("log"), O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (file.ok()) (void)fs::WriteAll(file->get(), text + "\n", "log").ok();
  }
  return error.number == oci::kHookFailed || error.number == oci::kExecFailed ? 255 : 1;
}

Status CheckGlobal(const Parsed& global) {
  if (global.Has("systemd-cgroup") || global.Value("cgroup-manager") == "systemd") {
    return Error{"--systemd-cgroup: not supported: groups are made in the cgroup file system; leave it out", ENOTSUP};
  }
  std::string manager = global.Value("cgroup-manager", "cgroupfs");
  if (manager != "cgroupfs") return Error{"--cgroup-manager `" + manager + "`: must be cgroupfs", EINVAL};
  std::string format = global.Value("log-format", "text");
  if (format != "text" && format != "json") return Error{"--log-format `" + format + "`: must be text or json", EINVAL};
  return {};
}

int Main(const std::vector<std::string>& arguments) {
  size_t at = 0;
  auto global = ParseOptions(arguments, at, kGlobal, true);
  if (!global.ok()) return Report(global.error(), Parsed());
  if (global->Has("help")) {
    printf("%s", kUsage);
    return 0;
  }
  if (global->Has("version")) {
    printf("starling-run, OCI runtime-spec 1.2.0\n");
    return 0;
  }
  if (Status checked = CheckGlobal(*global); !checked.ok()) return Report(checked.error(), *global);
  if (at == arguments.size()) {
    fprintf(stderr, "starling-run: no command\n%s", kUsage);
    return 1;
  }
  std::string name = arguments[at++];
  const Command* command = FindCommand(name);
  if (command == nullptr) return Report(Error{"unknown command `" + name + "`", EINVAL}, *global);
  auto parsed = ParseOptions(arguments, at, command->options, command->stops_at_word);
  if (!parsed.ok()) return Report(parsed.error(), *global);
  while (at < arguments.size()) parsed->words.push_back(arguments[at++]);
  oci::Store store(global->Value("root", "/run/starling-run"));
  auto code = command->run(store, *parsed);
  return code.ok() ? *code : Report(code.error(), *global);
}

}  // namespace
}  // namespace starling::run

int main(int argc, char** argv) {
  if (long sealed = starling::RunFromReadonlyMount(argv, environ); sealed != 0) {
    fprintf(stderr, "starling-run: no read-only mount of its own program: %s\n", strerror(static_cast<int>(-sealed)));
    return 1;
  }
  return starling::run::Main(std::vector<std::string>(argv + 1, argv + argc));
}
