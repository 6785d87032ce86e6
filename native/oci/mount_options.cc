#include "mount_options.h"

#include <sys/mount.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

namespace starling::oci {
namespace {

struct Flag {
  std::string_view name;
  unsigned long set;
  unsigned long cleared;
};

constexpr Flag kFlags[] = {
    {"async", 0, MS_SYNCHRONOUS},
    {"atime", 0, MS_NOATIME},
    {"defaults", 0, 0},
    {"dev", 0, MS_NODEV},
    {"diratime", 0, MS_NODIRATIME},
    {"dirsync", MS_DIRSYNC, 0},
    {"exec", 0, MS_NOEXEC},
    {"iversion", MS_I_VERSION, 0},
    {"lazytime", MS_LAZYTIME, 0},
    {"loud", 0, MS_SILENT},
    {"mand", MS_MANDLOCK, 0},
    {"noatime", MS_NOATIME, 0},
    {"nodev", MS_NODEV, 0},
    {"nodiratime", MS_NODIRATIME, 0},
    {"noexec", MS_NOEXEC, 0},
    {"noiversion", 0, MS_I_VERSION},
    {"nolazytime", 0, MS_LAZYTIME},
    {"nomand", 0, MS_MANDLOCK},
    {"norelatime", 0, MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nosuid", MS_NOSUID, 0},
    {"nosymfollow", MS_NOSYMFOLLOW, 0},
    {"relatime", MS_RELATIME, 0},
    {"remount", MS_REMOUNT, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"silent", MS_SILENT, 0},
    {"strictatime", MS_STRICTATIME, 0},
    {"suid", 0, MS_NOSUID},
    {"symfollow", 0, MS_NOSYMFOLLOW},
    {"sync", MS_SYNCHRONOUS, 0},
};

struct Attribute {
  std::string_view name;
  uint64_t set;
  uint64_t cleared;
};

constexpr Attribute kRecursive[] = {
    {"ratime", 0, MOUNT_ATTR__ATIME},
    {"rdev", 0, MOUNT_ATTR_NODEV},
    {"rdiratime", 0, MOUNT_ATTR_NODIRATIME},
    {"rexec", 0, MOUNT_ATTR_NOEXEC},
    {"rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"rnodev", MOUNT_ATTR_NODEV, 0},
    {"rnodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"rnoexec", MOUNT_ATTR_NOEXEC, 0},
    {"rnorelatime", 0, MOUNT_ATTR__ATIME},
    {"rnostrictatime", 0, MOUNT_ATTR__ATIME},
    {"rnosuid", MOUNT_ATTR_NOSUID, 0},
    {"rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"rrelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"rro", MOUNT_ATTR_RDONLY, 0},
    {"rrw", 0, MOUNT_ATTR_RDONLY},
    {"rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"rsuid", 0, MOUNT_ATTR_NOSUID},
    {"rsymfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};

template <class Table>
const auto* FindByName(const Table& table, std::string_view name) {
  const auto* end = std::end(table);
  const auto* found = std::find_if(std::begin(table), end, [&](const auto& item) { return item.name == name; });
  return found == end ? nullptr : found;
}

}  // namespace

unsigned long PropagationFlags(const std::string& name) {
  bool recursive = name.starts_with('r');
  std::string_view kind = std::string_view(name).substr(recursive ? 1 : 0);
  unsigned long recurse = recursive ? static_cast<unsigned long>(MS_REC) : 0UL;
  if (kind == "shared") return MS_SHARED | recurse;
  if (kind == "slave") return MS_SLAVE | recurse;
  if (kind == "private") return MS_PRIVATE | recurse;
  if (kind == "unbindable") return MS_UNBINDABLE | recurse;
  return 0;
}

uint64_t MountAttributes(unsigned long flags) {
  uint64_t attributes = 0;
  if ((flags & MS_RDONLY) != 0) attributes |= MOUNT_ATTR_RDONLY;
  if ((flags & MS_NOSUID) != 0) attributes |= MOUNT_ATTR_NOSUID;
  if ((flags & MS_NODEV) != 0) attributes |= MOUNT_ATTR_NODEV;
  if ((flags & MS_NOEXEC) != 0) attributes |= MOUNT_ATTR_NOEXEC;
  if ((flags & MS_NODIRATIME) != 0) attributes |= MOUNT_ATTR_NODIRATIME;
  if ((flags & MS_NOSYMFOLLOW) != 0) attributes |= MOUNT_ATTR_NOSYMFOLLOW;
  if ((flags & MS_NOATIME) != 0) attributes |= MOUNT_ATTR_NOATIME;
  if ((flags & MS_STRICTATIME) != 0) attributes |= MOUNT_ATTR_STRICTATIME;
  return attributes;
}

MountOptions ParseMountOptions(const std::vector<std::string>& options) {
  MountOptions parsed;
  for (const std::string& option : options) {
    if (const Flag* flag = FindByName(kFlags, option)) {
      parsed.set = (parsed.set & ~flag->cleared) | flag->set;
      parsed.cleared = (parsed.cleared & ~flag->set) | flag->cleared;
    } else if (const Attribute* attribute = FindByName(kRecursive, option)) {
      parsed.recursive_set = (parsed.recursive_set & ~attribute->cleared) | attribute->set;
      parsed.recursive_cleared = (parsed.recursive_cleared & ~attribute->set) | attribute->cleared;
    } else if (unsigned long propagation = PropagationFlags(option)) {
      parsed.propagation.push_back(propagation);
    } else if (option == "bind" || option == "rbind") {
      parsed.bind = true;
      parsed.recursive_bind = option == "rbind";
    } else if (option == "idmap" || option == "ridmap") {
      parsed.idmap = true;
      parsed.recursive_idmap = option == "ridmap";
    } else if (option == "tmpcopyup") {
      parsed.copy_up = true;
    } else {
      if (!parsed.data.empty()) parsed.data.push_back(',');
      parsed.data.append(option);
    }
  }
  return parsed;
}

}  // namespace starling::oci
