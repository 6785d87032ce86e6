#include "applier.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
constexpr int kDepthMax = 512;

Result<UniqueFd> OpenInside(int root, const std::string& path, uint64_t flags) {
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!fd) return Error::Errno("open", path);
  return fd;
}

// Without leading "./" and "/", and without slashes at the end.
std::string Trimmed(std::string_view path) {
  for (;;) {
    if (path.starts_with("./")) {
      path.remove_prefix(2);
    } else if (path.starts_with("/")) {
      path.remove_prefix(1);
    } else {
      break;
    }
  }
  while (path.ends_with("/")) path.remove_suffix(1);
  return path == "." ? std::string() : std::string(path);
}

// Removes `name` in `parent`, a folder with all that is in it. Links are removed, never followed.
Status RemoveAll(int parent, const char* name, int depth) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Error::Errno("unlink", name);
  if (depth > kDepthMax) return Error{"tar: folders nested too deeply", ELOOP};
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return Error::Errno("open", name);
  DIR* folder = fdopendir(fd);
  if (folder == nullptr) {
    close(fd);
    return Error::Errno("open", name);
  }
  Status outcome;
  for (dirent* item; outcome.ok() && (item = readdir(folder)) != nullptr;) {
    std::string_view entry = item->d_name;
    if (entry != "." && entry != "..") outcome = RemoveAll(dirfd(folder), item->d_name, depth + 1);
  }
  closedir(folder);
  if (outcome.ok() && unlinkat(parent, name, AT_REMOVEDIR) != 0) return Error::Errno("rmdir", name);
  return outcome;
}

Status SetOwnerAndTime(int parent, const char* name, const TarEntry& entry) {
  if (fchownat(parent, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  timespec times[2] = {{entry.mtime_s, entry.mtime_ns}, {entry.mtime_s, entry.mtime_ns}};
  if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("utimensat", name);
  return {};
}

// trusted.* would speak to overlayfs itself, system.* and the other security.* to the host's policies.
bool MayKeep(const std::string& xattr) { return xattr.starts_with("user.") || xattr == "security.capability"; }

}  // namespace

Result<UniqueFd> LayerApplier::OpenFolder(const std::string& path, bool make) {
  auto folder = OpenInside(root_.get(), path, O_RDONLY | O_DIRECTORY);
  if (folder.ok() || !make || folder.error().number != ENOENT) return folder;
  size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (path.empty() || name == "..") return folder;
  STARLING_ASSIGN(parent, OpenFolder(slash == std::string::npos ? "" : path.substr(0, slash), true));
  if (mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST) return Error::Errno("mkdir", path);
  return OpenInside(root_.get(), path, O_RDONLY | O_DIRECTORY);
}

Result<LayerApplier::Place> LayerApplier::Locate(const std::string& path) {
  if (path.size() >= 4096) return Error{"name longer than 4096 bytes", ENAMETOOLONG};
  std::string trimmed = Trimmed(path);
  size_t slash = trimmed.rfind('/');
  Place place;
  place.name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  if (place.name == ".." || place.name == ".") return Error{"the name must not end in `.` or `..`", EINVAL};
  STARLING_ASSIGN(parent, OpenFolder(slash == std::string::npos ? "" : trimmed.substr(0, slash), true));
  place.parent = std::move(parent);
  return place;
}

Result<AppliedLayer> LayerApplier::Apply(TarReader& tar) {
  for (;;) {
    TarEntry entry;
    STARLING_ASSIGN(more, tar.Next(entry));
    if (!more) break;
    if (Status done = ApplyEntry(tar, entry); !done.ok()) {
      return Error{"layer entry `" + entry.path + "`: " + done.error().message, done.error().number};
    }
    applied_.entries++;
  }
  STARLING_TRY(SetFolderTimes());
  return applied_;
}

Status LayerApplier::ApplyEntry(TarReader& tar, const TarEntry& entry) {
  STARLING_ASSIGN(place, Locate(entry.path));
  if (place.name.empty()) {
    if (entry.type != TarEntry::Type::kFolder) return Error{"the root must be a folder", EINVAL};
    folder_times_.push_back({"", entry.mtime_s, entry.mtime_ns});
    return SetAttributes(root_.get(), entry);
  }
  if (place.name.starts_with(kWhiteout)) return ApplyWhiteout(place);
  if (entry.type == TarEntry::Type::kFolder) {
    folder_times_.push_back({Trimmed(entry.path), entry.mtime_s, entry.mtime_ns});
    return MakeFolder(place, entry);
  }
  STARLING_TRY(RemoveAll(place.parent.get(), place.name.c_str(), 0));
  switch (entry.type) {
    case TarEntry::Type::kFile: return MakeFile(place, entry, tar);
    case TarEntry::Type::kHardLink: return MakeLink(place, entry);
    case TarEntry::Type::kSymlink:
      if (symlinkat(entry.link.c_str(), place.parent.get(), place.name.c_str()) != 0) return Error::Errno("symlink", "");
      return SetOwnerAndTime(place.parent.get(), place.name.c_str(), entry);
    default: return MakeNode(place, entry);
  }
}

Status LayerApplier::ApplyWhiteout(const Place& place) {
  if (place.name == kOpaque) {
    if (fsetxattr(place.parent.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) return Error::Errno("setxattr", "opaque");
    return {};
  }
  std::string hidden = place.name.substr(kWhiteout.size());
  // ".wh..wh.…" are aufs' own files: nothing to hide.
  if (hidden.starts_with(kWhiteout)) return {};
  if (hidden.empty() || hidden == "." || hidden == "..") return Error{"damaged whiteout", EINVAL};
  // Content of the same layer that stands already is newer than what the whiteout hides below.
  if (mknodat(place.parent.get(), hidden.c_str(), S_IFCHR, makedev(0, 0)) != 0 && errno != EEXIST) {
    return Error::Errno("mknod", hidden);
  }
  return {};
}

Status LayerApplier::MakeFolder(const Place& place, const TarEntry& entry) {
  const char* name = place.name.c_str();
  if (mkdirat(place.parent.get(), name, 0755) != 0) {
    if (errno != EEXIST) return Error::Errno("mkdir", name);
    struct stat info;
    if (fstatat(place.parent.get(), name, &info, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("stat", name);
    if (!S_ISDIR(info.st_mode)) {
      STARLING_TRY(RemoveAll(place.parent.get(), name, 0));
      if (mkdirat(place.parent.get(), name, 0755) != 0) return Error::Errno("mkdir", name);
    }
  }
  UniqueFd folder(openat(place.parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return Error::Errno("open", name);
  return SetAttributes(folder.get(), entry);
}

Status LayerApplier::MakeFile(const Place& place, const TarEntry& entry, TarReader& tar) {
  UniqueFd file(openat(place.parent.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Error::Errno("create", place.name);
  static char buffer[64 << 10];
  for (;;) {
    STARLING_ASSIGN(count, tar.ReadContent(buffer, sizeof buffer));
    if (count == 0) break;
    STARLING_TRY(fs::WriteAll(file.get(), std::string_view(buffer, count), place.name));
    applied_.content_bytes += count;
  }
  STARLING_TRY(SetAttributes(file.get(), entry));
  timespec times[2] = {{entry.mtime_s, entry.mtime_ns}, {entry.mtime_s, entry.mtime_ns}};
  if (futimens(file.get(), times) != 0) return Error::Errno("utimensat", place.name);
  return {};
}

Status LayerApplier::MakeLink(const Place& place, const TarEntry& entry) {
  STARLING_ASSIGN(target, Locate(entry.link));
  if (linkat(target.parent.get(), target.name.c_str(), place.parent.get(), place.name.c_str(), 0) != 0) {
    return Error::Errno("link to", entry.link);
  }
  return {};
}

Status LayerApplier::MakeNode(const Place& place, const TarEntry& entry) {
  mode_t kind = entry.type == TarEntry::Type::kFifo         ? S_IFIFO
                : entry.type == TarEntry::Type::kCharDevice ? S_IFCHR
                                                            : S_IFBLK;
  dev_t device = kind == S_IFIFO ? 0 : makedev(entry.device_major, entry.device_minor);
  // 0/0 would be a whiteout that the archive has no right to write this way.
  if (kind == S_IFCHR && device == 0) return Error{"character device 0/0", EINVAL};
  const char* name = place.name.c_str();
  if (mknodat(place.parent.get(), name, kind | 0600, device) != 0) return Error::Errno("mknod", name);
  if (fchownat(place.parent.get(), name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  // Just made by us, hence no link: following is no question.
  if (fchmodat(place.parent.get(), name, entry.mode, 0) != 0) return Error::Errno("chmod", name);
  return SetOwnerAndTime(place.parent.get(), name, entry);
}

// Owner before mode (chown clears setuid), capabilities after both (chown clears them too).
Status LayerApplier::SetAttributes(int fd, const TarEntry& entry) {
  if (fchown(fd, entry.uid, entry.gid) != 0) return Error::Errno("chown", "");
  if (fchmod(fd, entry.mode) != 0) return Error::Errno("chmod", "");
  for (const auto& [name, value] : entry.xattrs) {
    if (!MayKeep(name)) continue;
    // A file system without user attributes loses them, as every unpacker does.
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP) {
      return Error::Errno("setxattr", name);
    }
  }
  return {};
}

// At the end: writing into a folder moves its time.
Status LayerApplier::SetFolderTimes() {
  for (const FolderTime& folder : folder_times_) {
    auto fd = OpenFolder(folder.path, false);
    if (!fd.ok()) continue;  // Replaced by a later entry.
    timespec times[2] = {{folder.seconds, folder.nanoseconds}, {folder.seconds, folder.nanoseconds}};
    if (futimens(fd->get(), times) != 0) return Error::Errno("utimensat", folder.path);
  }
  return {};
}

}  // namespace starling
