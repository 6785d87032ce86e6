// config.json of a bundle, a process object, and the filter of system calls that a config asks for.
#include <sched.h>

#include "../../oci/config.h"
#include "input.h"

namespace starling::fuzz {
namespace {

void TryConfig(std::string_view text) {
  auto config = oci::ParseConfig(text, "/bundle");
  if (!config.ok()) return;
  Require(config->HasNew(CLONE_NEWNS), "no container without a mount namespace of its own");
  Require(config->root_path.starts_with('/'), "the root's path is absolute");
  for (const oci::Mount& mount : config->mounts) {
    Require(mount.destination.starts_with('/'), "a mount's destination is absolute");
    Require(!mount.options.bind || mount.source.starts_with('/'), "a bind's source is absolute");
  }
  for (const std::string& path : config->masked_paths) Require(path.starts_with('/'), "a masked path is absolute");
  for (const auto& [name, value] : config->sysctls) Require(name.find("..") == std::string::npos, "a sysctl stays below /proc/sys");
  for (const auto& [file, value] : config->resources.unified) Require(file.find('/') == std::string::npos, "a control file is in its group");
  if (config->seccomp) (void)oci::CompileSeccomp(*config->seccomp).ok();
  if (config->process) Require(!config->process->args.empty(), "a process has a program");
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::TryConfig(text);
  std::vector<std::string> warnings;
  (void)oci::ParseProcessObject(text, &warnings).ok();
  return 0;
}
