#include "seccomp_config.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "../sys/unique_fd.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace starling::oci {
namespace {

struct Named {
  std::string_view name;
  uint64_t value;
};

constexpr Named kOperations[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE}, {"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ}, {"SCMP_CMP_GE", SCMP_CMP_GE}, {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};

constexpr Named kFlags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV}};

const Named* Find(const Named* begin, const Named* end, std::string_view name) {
  for (; begin != end; begin++) {
    if (begin->name == name) return begin;
  }
  return nullptr;
}

// `errno_key`: the member beside `key` that has the error number.
uint32_t ReadAction(const json::Reader& reader, const char* key, const char* errno_key) {
  std::string name = reader.String(key);
  auto number = static_cast<uint32_t>(reader.Uint(errno_key, EPERM, 0xffff));
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(number);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(number);
  if (reader.Has(errno_key)) reader.Fault(errno_key, "is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE only");
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_NOTIFY") return SCMP_ACT_NOTIFY;
  reader.Fault(key, "unknown action `" + name + "`");
  return SCMP_ACT_ALLOW;
}

uint32_t ArchitectureOf(std::string name) {
  constexpr std::string_view kPrefix = "SCMP_ARCH_";
  if (!name.starts_with(kPrefix)) return 0;
  name.erase(0, kPrefix.size());
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return seccomp_arch_resolve_name(name.c_str());
}

struct ContextCloser {
  void operator()(scmp_filter_ctx context) const { seccomp_release(context); }
};

Error LibraryError(const std::string& what, int code) { return Error::Errno("linux.seccomp", what, -code); }

Status AddRules(scmp_filter_ctx context, const SeccompConfig& config) {
  for (const SeccompRule& rule : config.rules) {
    if (rule.action == config.default_action) continue;
    std::vector<scmp_arg_cmp> arguments;
    for (const SeccompArgument& argument : rule.arguments) {
      arguments.push_back({argument.index, static_cast<scmp_compare>(argument.operation), argument.value, argument.value_two});
    }
    for (const std::string& name : rule.names) {
      int call = seccomp_syscall_resolve_name(name.c_str());
      if (call == __NR_SCMP_ERROR) continue;
      int added = seccomp_rule_add_array(context, rule.action, call, static_cast<unsigned>(arguments.size()), arguments.data());
      // Several comparisons of one argument cannot stand in one rule: each gets its own, as other runtimes do.
      if (added == -EINVAL && arguments.size() > 1) {
        for (scmp_arg_cmp& argument : arguments) {
          added = seccomp_rule_add_array(context, rule.action, call, 1, &argument);
          if (added < 0) break;
        }
      }
      if (added < 0 && added != -EDOM) return LibraryError(name, added);
    }
  }
  return {};
}

}  // namespace

SeccompConfig ReadSeccomp(const json::Reader& reader) {
  SeccompConfig config;
  config.default_action = ReadAction(reader, "defaultAction", "defaultErrnoRet");
  for (const std::string& name : reader.Strings("architectures")) {
    uint32_t architecture = ArchitectureOf(name);
    if (architecture == 0) reader.Fault("architectures", "unknown architecture `" + name + "`");
    config.architectures.push_back(architecture);
  }
  for (const std::string& name : reader.Strings("flags")) {
    const Named* flag = Find(std::begin(kFlags), std::end(kFlags), name);
    if (flag == nullptr) {
      reader.Fault("flags", "unknown flag `" + name + "`");
    } else {
      config.flags |= flag->value;
    }
  }
  config.notifies = config.default_action == SCMP_ACT_NOTIFY;
  for (const json::Reader& item : reader.Objects("syscalls")) {
    SeccompRule rule;
    rule.names = item.Strings("names");
    if (rule.names.empty()) item.Fault("names", "must have at least one call");
    rule.action = ReadAction(item, "action", "errnoRet");
    config.notifies = config.notifies || rule.action == SCMP_ACT_NOTIFY;
    for (const json::Reader& argument : item.Objects("args")) {
      std::string operation = argument.String("op");
      const Named* known = Find(std::begin(kOperations), std::end(kOperations), operation);
      if (known == nullptr) argument.Fault("op", "unknown operator `" + operation + "`");
      rule.arguments.push_back({static_cast<uint32_t>(argument.Uint("index", 0, 5)), argument.Uint("value", 0),
                                argument.Uint("valueTwo", 0), known == nullptr ? 0 : static_cast<int>(known->value)});
    }
    config.rules.push_back(std::move(rule));
  }
  config.listener_path = reader.String("listenerPath");
  config.listener_metadata = reader.String("listenerMetadata");
  if (config.listener_path.empty() && !config.listener_metadata.empty()) {
    reader.Fault("listenerMetadata", "needs `listenerPath`");
  }
  if (config.notifies && config.listener_path.empty()) reader.Fault("listenerPath", "SCMP_ACT_NOTIFY needs it");
  return config;
}

Result<std::vector<sock_filter>> CompileSeccomp(const SeccompConfig& config) {
  std::unique_ptr<void, ContextCloser> context(seccomp_init(config.default_action));
  if (context == nullptr) return Error{"linux.seccomp.defaultAction: refused by libseccomp", EINVAL};
  for (uint32_t architecture : config.architectures) {
    int added = seccomp_arch_add(context.get(), architecture);
    if (added < 0 && added != -EEXIST) return LibraryError("architectures", added);
  }
  STARLING_TRY(AddRules(context.get(), config));
  UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return Error::Errno("memfd_create", "seccomp");
  if (int exported = seccomp_export_bpf(context.get(), file.get()); exported < 0) return LibraryError("export", exported);
  off_t size = lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<size_t>(size) / sizeof(sock_filter));
  if (pread(file.get(), program.data(), static_cast<size_t>(size), 0) != size) return Error::Errno("read", "seccomp");
  return program;
}

}  // namespace starling::oci
