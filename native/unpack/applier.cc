#include "applier.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "../sys/fs.h"

namespace starling {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr size_t kNameMax = 4096;
// Memory for folders whose times are to be set in the end.
constexpr size_t kRememberedMax = 256 << 20;

char buffer[256 << 10];

// Without slashes at the end.
std::string_view Trimmed(std::string_view path) {
  while (path.ends_with("/")) path.remove_suffix(1);
  return path;
}

timespec Modified(const TarEntry& entry) { return {entry.mtime_s, entry.mtime_ns}; }

Status SetTime(int fd, const timespec& modified, std::string_view name) {
  timespec times[2] = {modified, modified};
  if (futimens(fd, times) != 0) return Error::Errno("utimensat", name);
  return {};
}

Status SetOwnerAndTime(int parent, const char* name, const TarEntry& entry) {
  if (fchownat(parent, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  timespec times[2] = {Modified(entry), Modified(entry)};
  if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("utimensat", name);
  return {};
}

// Owner before mode (chown clears setuid), capabilities after both (chown clears them too).
Status SetAttributes(int fd, const TarEntry& entry) {
  if (fchown(fd, entry.uid, entry.gid) != 0) return Error::Errno("chown", "");
  if (fchmod(fd, entry.mode) != 0) return Error::Errno("chmod", "");
  for (const auto& [name, value] : entry.xattrs) {
    if (!IsKeptAttribute(name)) continue;
    // A file system without user attributes loses them, as every unpacker does; a capability that is lost breaks a program.
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0 &&
        (errno != ENOTSUP || name == "security.capability")) {
      return Error::Errno("setxattr", name);
    }
  }
  return {};
}

}  // namespace

Result<LayerApplier::Place> LayerApplier::Locate(std::string_view path, bool make) {
  if (path.size() >= kNameMax) return Error{"name longer than 4095 bytes", ENAMETOOLONG};
  std::string_view trimmed = Trimmed(path);
  size_t slash = trimmed.rfind('/');
  std::string_view above = slash == std::string_view::npos ? "" : trimmed.substr(0, slash);
  Place place;
  place.name = slash == std::string_view::npos ? trimmed : trimmed.substr(slash + 1);
  // "./" and "/" are the root.
  if (place.name == "." && (above.empty() || above == ".")) place.name.clear();
  if (place.name == ".." || place.name == ".") return Error{"the name must not end in `.` or `..`", EINVAL};
  while (above.starts_with("./") || above.starts_with("/")) above.remove_prefix(above[0] == '/' ? 1 : 2);
  if (above == ".") above = "";
  STARLING_ASSIGN(parent, walk_.Enter(above, make));
  place.parent = parent;
  return place;
}

Result<AppliedLayer> LayerApplier::Apply(TarReader& tar) {
  for (;;) {
    TarEntry entry;
    STARLING_ASSIGN(more, tar.Next(entry));
    if (!more) break;
    if (++applied_.entries + walk_.made() > limits_.entries_max || remembered_ > kRememberedMax) {
      return Error{"layer: more than " + std::to_string(limits_.entries_max) + " entries", EFBIG};
    }
    if (Status done = ApplyEntry(tar, entry); !done.ok()) {
      return Error{"layer entry `" + entry.path + "`: " + done.error().message, done.error().number};
    }
  }
  STARLING_TRY(SetFolderTimes());
  applied_.standalone = !walk_.has_implied() && applied_.missing_link.empty();
  return applied_;
}

Status LayerApplier::ApplyEntry(TarReader& tar, const TarEntry& entry) {
  STARLING_ASSIGN(place, Locate(entry.path, true));
  if (place.name.empty()) {
    if (entry.type != TarEntry::Type::kFolder) return Error{"the root must be a folder", EINVAL};
    folder_times_.push_back({"", Modified(entry)});
    return SetAttributes(root_.get(), entry);
  }
  if (place.name.starts_with(kWhiteout)) return ApplyWhiteout(place);
  switch (entry.type) {
    case TarEntry::Type::kFolder: return MakeFolder(place, entry);
    case TarEntry::Type::kFile: return MakeFile(place, entry, tar);
    case TarEntry::Type::kHardLink: return MakeLink(place, entry);
    case TarEntry::Type::kSymlink:
      STARLING_TRY(Replacing(place, "symlink",
                             [&] { return symlinkat(entry.link.c_str(), place.fd(), place.name.c_str()); }));
      STARLING_TRY(SetOwnerAndTime(place.fd(), place.name.c_str(), entry));
      walk_.Forget();
      return {};
    default: return MakeNode(place, entry);
  }
}

template <class Create>
Status LayerApplier::Replacing(const Place& place, const char* operation, Create create) {
  if (create() == 0) return {};
  if (errno != EEXIST) return Error::Errno(operation, place.name);
  // The folder itself stays open: only its child goes.
  STARLING_TRY(RemoveAll(place.fd(), place.name.c_str()));
  walk_.Forget();
  if (create() != 0) return Error::Errno(operation, place.name);
  return {};
}

Status LayerApplier::ApplyWhiteout(const Place& place) {
  if (place.name == kOpaque) {
    STARLING_TRY(MakeOpaque(place.fd()));
    walk_.Forget();
    return {};
  }
  std::string hidden = place.name.substr(kWhiteout.size());
  // ".wh..wh.…" are aufs' own files: nothing to hide.
  if (hidden.starts_with(kWhiteout)) return {};
  if (hidden.empty() || hidden == "." || hidden == "..") return Error{"damaged whiteout", EINVAL};
  if (mknodat(place.fd(), hidden.c_str(), S_IFCHR, makedev(0, 0)) == 0) return {};
  if (errno != EEXIST) return Error::Errno("mknod", hidden);
  // Content of the same layer that stands already is newer than what the whiteout hides below.
  UniqueFd folder(openat(place.fd(), hidden.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return {};
  STARLING_TRY(MakeOpaque(folder.get()));
  walk_.Forget();
  return {};
}

Status LayerApplier::MakeFolder(const Place& place, const TarEntry& entry) {
  const char* name = place.name.c_str();
  std::string path = place.parent->path.empty() ? place.name : place.parent->path + "/" + place.name;
  int parent = place.fd();
  bool replaces = false;
  if (mkdirat(parent, name, 0755) != 0) {
    if (errno != EEXIST) return Error::Errno("mkdir", name);
    struct stat info;
    if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("stat", name);
    if (!S_ISDIR(info.st_mode)) {
      STARLING_TRY(RemoveAll(parent, name));
      if (mkdirat(parent, name, 0755) != 0) return Error::Errno("mkdir", name);
      replaces = true;
    }
  }
  UniqueFd folder(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return Error::Errno("open", name);
  // What it replaces, a file or a whiteout, hid the lower layers' folder.
  if (replaces) STARLING_TRY(MakeOpaque(folder.get()));
  walk_.Explain(path);
  remembered_ += path.size() + sizeof(FolderTime);
  folder_times_.push_back({std::move(path), Modified(entry)});
  // Where only lower layers had a link, there is a folder now.
  if (lower_ || replaces) walk_.Forget();
  return SetAttributes(folder.get(), entry);
}

Status LayerApplier::MakeFile(const Place& place, const TarEntry& entry, TarReader& tar) {
  UniqueFd file;
  STARLING_TRY(Replacing(place, "create", [&] {
    file.reset(openat(place.fd(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    return file ? 0 : -1;
  }));
  STARLING_TRY(WriteContent(file.get(), entry, tar));
  STARLING_TRY(SetAttributes(file.get(), entry));
  return SetTime(file.get(), Modified(entry), place.name);
}

Status LayerApplier::CountContent(uint64_t bytes) {
  if (bytes > limits_.content_max - applied_.content_bytes) return Error{"larger than its limit", EFBIG};
  applied_.content_bytes += bytes;
  return {};
}

Status LayerApplier::WriteContent(int file, const TarEntry& entry, TarReader& tar) {
  STARLING_TRY(CountContent(entry.sparse ? entry.real_size : entry.size));
  if (!entry.sparse) {
    for (;;) {
      STARLING_ASSIGN(count, tar.ReadContent(buffer, sizeof buffer));
      if (count == 0) return {};
      STARLING_TRY(fs::WriteAll(file, std::string_view(buffer, count), entry.path));
    }
  }
  for (const Extent& extent : entry.extents) {
    if (lseek(file, static_cast<off_t>(extent.offset), SEEK_SET) < 0) return Error::Errno("seek", entry.path);
    for (uint64_t left = extent.length; left > 0;) {
      STARLING_ASSIGN(count, tar.ReadContent(buffer, left < sizeof buffer ? static_cast<size_t>(left) : sizeof buffer));
      if (count == 0) return Error{"tar: the archive is cut short"};
      STARLING_TRY(fs::WriteAll(file, std::string_view(buffer, count), entry.path));
      left -= count;
    }
  }
  if (ftruncate(file, static_cast<off_t>(entry.real_size)) != 0) return Error::Errno("truncate", entry.path);
  return {};
}

Status LayerApplier::MakeLink(const Place& place, const TarEntry& entry) {
  // Locating the target may move the walk away from the link's own folder.
  UniqueFd folder(fcntl(place.fd(), F_DUPFD_CLOEXEC, 0));
  if (!folder) return Error::Errno("dup", place.name);
  auto target = Locate(entry.link, false);
  if (!target.ok() && (lower_ || (target.error().number != ENOENT && target.error().number != ENOTDIR))) return target.error();
  const std::string name = place.name;
  for (bool copied_up = false;;) {
    int outcome = target.ok() ? linkat(target->fd(), target->name.c_str(), folder.get(), name.c_str(), 0) : -1;
    if (outcome == 0) return {};
    int problem = target.ok() ? errno : ENOENT;
    if (problem == EEXIST) {
      struct stat own;
      struct stat other;
      // A link to itself, or twice the same: replacing would remove the target.
      if (fstatat(target->fd(), target->name.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0 &&
          fstatat(folder.get(), name.c_str(), &own, AT_SYMLINK_NOFOLLOW) == 0 && own.st_ino == other.st_ino) {
        return {};
      }
      STARLING_TRY(RemoveAll(folder.get(), name.c_str()));
      continue;
    }
    UniqueFd lower = problem == ENOENT && !copied_up && target.ok() ? walk_.LookBelow(*target->parent, target->name) : UniqueFd();
    if (lower) {
      STARLING_TRY(CopyUp(*target->parent, target->name, lower));
      copied_up = true;
      continue;
    }
    if (problem != ENOENT) return Error::Errno("link to", entry.link, problem);
    if (lower_) return Error{"link to `" + entry.link + "`: no layer has it", ENOENT};
    if (applied_.missing_link.empty()) applied_.missing_link = entry.path;
    return {};
  }
}

Status LayerApplier::CopyUp(const Folder& folder, const std::string& name, const UniqueFd& lower) {
  struct stat info;
  if (fstat(lower.get(), &info) != 0) return Error::Errno("stat", name);
  if (!S_ISREG(info.st_mode)) return Error{"link to `" + name + "` of a lower layer, which is no regular file", ENOTSUP};
  STARLING_TRY(CountContent(static_cast<uint64_t>(info.st_size)));
  // The descriptor is only a place (O_PATH): opened again below the merged lower layers.
  STARLING_ASSIGN(from, walk_.OpenBelow(folder, name));
  UniqueFd to(openat(folder.fd.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!to) return Error::Errno("create", name);
  for (;;) {
    ssize_t count = read(from.get(), buffer, sizeof buffer);
    if (count < 0) return Error::Errno("read", name);
    if (count == 0) break;
    STARLING_TRY(fs::WriteAll(to.get(), std::string_view(buffer, static_cast<size_t>(count)), name));
  }
  STARLING_TRY(CopyAttributes(from.get(), to.get()));
  return SetTime(to.get(), info.st_mtim, name);
}

Status LayerApplier::MakeNode(const Place& place, const TarEntry& entry) {
  mode_t kind = entry.type == TarEntry::Type::kFifo         ? S_IFIFO
                : entry.type == TarEntry::Type::kCharDevice ? S_IFCHR
                                                            : S_IFBLK;
  dev_t device = kind == S_IFIFO ? 0 : makedev(entry.device_major, entry.device_minor);
  if (kind == S_IFCHR && device == 0) return Error{"character device 0/0 is a whiteout of overlayfs", EINVAL};
  const char* name = place.name.c_str();
  STARLING_TRY(Replacing(place, "mknod", [&] { return mknodat(place.fd(), name, kind | 0600, device); }));
  if (fchownat(place.fd(), name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  // Just made by us, hence no link: following is no question.
  if (fchmodat(place.fd(), name, entry.mode, 0) != 0) return Error::Errno("chmod", name);
  return SetOwnerAndTime(place.fd(), name, entry);
}

// At the end: writing into a folder moves its time.
Status LayerApplier::SetFolderTimes() {
  for (auto& folder : walk_.TakeCopiedUp()) {
    folder_times_.insert(folder_times_.begin(), {std::move(folder.path), folder.modified});
  }
  for (const FolderTime& time : folder_times_) {
    auto folder = walk_.Enter(time.path, false);
    if (!folder.ok() || (*folder)->path != time.path) continue;  // Replaced by a later entry.
    STARLING_TRY(SetTime((*folder)->fd.get(), time.modified, time.path));
  }
  return {};
}

}  // namespace starling
