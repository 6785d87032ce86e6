// Short texts: the image's passwd and group files, the kernel's lists of mounts and groups, mount options, CPU lists, names.
#include <sys/mount.h>

#include "../../cgroup/paths.h"
#include "../../oci/cpu_list.h"
#include "../../oci/mount_options.h"
#include "../../oci/store.h"
#include "../../runtime/user.h"
#include "../../sys/fs.h"
#include "input.h"

namespace starling::fuzz {
namespace {

void TryUser(Input& input) {
  std::string_view user = input.Part();
  std::vector<std::string> more;
  for (std::string_view group : fs::Split(input.Part(), ',')) {
    if (!group.empty()) more.emplace_back(group);
  }
  std::string_view passwd = input.Part();
  auto identity = ResolveUser(user, more, passwd, input.Rest());
  if (!identity.ok()) return;
  Require(identity->uid <= 0x7fffffff && identity->gid <= 0x7fffffff, "an id is no order to leave it as it is");
  for (gid_t gid : identity->groups) Require(gid <= 0x7fffffff, "a group's id is none either");
  Require(!identity->groups.empty() && identity->groups[0] == identity->gid, "the primary group is among the others");
}

void TryHierarchies(Input& input) {
  std::string_view self_cgroup = input.Part();
  for (const cgroup::Hierarchy& hierarchy : cgroup::ParseHierarchies(input.Rest(), self_cgroup)) {
    Require(hierarchy.v2 || !hierarchy.controllers.empty(), "a v1 hierarchy has controllers");
    Require(!cgroup::ContainersGroup(hierarchy, "").empty(), "there is a place for the groups of containers");
  }
}

void TryNames(std::string_view name) {
  if (cgroup::CheckGroupName(name, "name").ok()) {
    std::string path = "/" + std::string(name) + "/";
    Require(path.find("/../") == std::string::npos && path.find("/./") == std::string::npos, "a group stays below its parent");
    Require(name.find('\n') == std::string_view::npos && name.find('\0') == std::string_view::npos, "a group's name is one line");
  }
  if (oci::CheckId(std::string(name)).ok()) {
    Require(name.find('/') == std::string_view::npos && name != "." && name != "..", "a container's folder is in its store");
  }
}

void TryOptions(std::string_view text) {
  std::vector<std::string> words;
  for (std::string_view word : fs::Split(text, ',')) words.emplace_back(word);
  oci::MountOptions options = oci::ParseMountOptions(words);
  Require((options.set & options.cleared) == 0, "an option is on or off");
  Require((options.set & (MS_BIND | MS_REC | MS_MOVE | MS_SHARED | MS_SLAVE | MS_PRIVATE)) == 0, "flags of other operations are no options");
  (void)oci::MountAttributes(options.set);
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  switch (input.Choice(6)) {
    case 0: fuzz::TryUser(input); break;
    case 1: fuzz::TryHierarchies(input); break;
    case 2: fuzz::TryNames(input.Rest()); break;
    case 3: fuzz::TryOptions(input.Rest()); break;
    case 4: (void)oci::ParseCpuList(input.Rest()).ok(); break;
    default: (void)oci::StartTimeOf(input.Rest());
  }
  return 0;
}
