#include "folder_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

namespace starling {
namespace {

constexpr int kDepthMax = 512;
constexpr size_t kPathMax = 3800;
// As the kernel's own limit.
constexpr int kLinksMax = 40;
// Bounds what links that lead through links, and "..", can cost.
constexpr int kStepsMax = 20'000;
constexpr size_t kImpliedMax = 10'000;
constexpr char kOpaqueAttribute[] = "trusted.overlay.opaque";

Result<UniqueFd> OpenStraight(int from, const std::string& path, uint64_t flags) {
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, from, path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!fd) return Error::Errno("open", path);
  return fd;
}

bool IsWhiteout(const struct stat& info) { return S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0); }

bool IsOpaque(int folder) {
  char value = 0;
  return fgetxattr(folder, kOpaqueAttribute, &value, 1) == 1 && value == 'y';
}

std::string Joined(const std::string& path, const std::string& name) { return path.empty() ? name : path + "/" + name; }

// Pushes the parts of `path` on a stack, the first on top.
void PushParts(std::vector<std::string>& stack, std::string_view path) {
  while (!path.empty()) {
    size_t slash = path.rfind('/');
    std::string_view part = slash == std::string_view::npos ? path : path.substr(slash + 1);
    if (!part.empty() && part != ".") stack.emplace_back(part);
    path = path.substr(0, slash == std::string_view::npos ? 0 : slash);
  }
}

Result<std::string> ReadLink(int parent, const char* name) {
  char target[4096];
  ssize_t length = readlinkat(parent, name, target, sizeof target);
  if (length < 0) return Error::Errno("readlink", name);
  if (length == sizeof target) return Error{"link longer than 4095 bytes", ENAMETOOLONG};
  return std::string(target, static_cast<size_t>(length));
}

bool HasParentPart(std::string_view path) {
  for (size_t at = path.find(".."); at != std::string_view::npos; at = path.find("..", at + 1)) {
    bool starts = at == 0 || path[at - 1] == '/';
    if (starts && (at + 2 == path.size() || path[at + 2] == '/')) return true;
  }
  return false;
}

}  // namespace

bool IsKeptAttribute(std::string_view name) {
  return name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
}

Status MakeOpaque(int folder) {
  if (fsetxattr(folder, kOpaqueAttribute, "y", 1, 0) != 0) return Error::Errno("setxattr", kOpaqueAttribute);
  return {};
}

Status RemoveAll(int parent, const char* name, int depth) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Error::Errno("unlink", name);
  if (depth > kDepthMax) return Error{"folders nested too deeply", ELOOP};
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

Status CopyAttributes(int from, int to) {
  struct stat info;
  if (fstat(from, &info) != 0) return Error::Errno("stat", "lower layer");
  if (fchown(to, info.st_uid, info.st_gid) != 0) return Error::Errno("chown", "");
  if (fchmod(to, info.st_mode & 07777U) != 0) return Error::Errno("chmod", "");
  static char names[64 << 10];
  static char value[64 << 10];
  ssize_t length = flistxattr(from, names, sizeof names);
  if (length < 0 && errno != ENOTSUP) return Error::Errno("listxattr", "lower layer");
  for (const char* name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
    if (!IsKeptAttribute(name)) continue;
    ssize_t size = fgetxattr(from, name, value, sizeof value);
    if (size < 0) return Error::Errno("getxattr", name);
    if (fsetxattr(to, name, value, static_cast<size_t>(size), 0) != 0) return Error::Errno("setxattr", name);
  }
  return {};
}

Result<const Folder*> FolderWalk::Enter(std::string_view path, bool make) {
  if (is_known_ && path == known_path_) return &known_;
  is_known_ = false;
  STARLING_ASSIGN(folder, Resolve(path, make));
  known_ = std::move(folder);
  known_path_ = path;
  is_known_ = true;
  return &known_;
}

UniqueFd FolderWalk::LookBelow(const Folder& folder, std::string_view name) const {
  if (!lower_ || folder.hides_lower) return {};
  auto found = OpenStraight(lower_.get(), Joined(folder.path, std::string(name)), O_PATH | O_NOFOLLOW);
  return found.ok() ? std::move(*found) : UniqueFd();
}

Result<UniqueFd> FolderWalk::OpenBelow(const Folder& folder, const std::string& name) const {
  return OpenStraight(lower_.get(), Joined(folder.path, name), O_RDONLY | O_NOFOLLOW);
}

// A folder that is missing in this layer; `lower` is what lower layers have of it, or -1.
Result<UniqueFd> FolderWalk::Make(const Folder& parent, const std::string& name, int lower) {
  if (mkdirat(parent.fd.get(), name.c_str(), 0755) != 0) return Error::Errno("mkdir", name);
  UniqueFd made(openat(parent.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!made) return Error::Errno("open", name);
  std::string path = Joined(parent.path, name);
  made_++;
  if (!lower_) {
    if (implied_.size() < kImpliedMax) {
      implied_.insert(path);
    } else {
      has_forgotten_implied_ = true;
    }
  }
  if (lower >= 0) {
    STARLING_ASSIGN(readable, OpenStraight(lower_.get(), path, O_RDONLY | O_DIRECTORY));
    STARLING_TRY(CopyAttributes(readable.get(), made.get()));
    struct stat info;
    if (fstat(readable.get(), &info) != 0) return Error::Errno("stat", path);
    copied_up_.push_back({path, info.st_mtim});
  }
  return made;
}

Result<Folder> FolderWalk::Resolve(std::string_view path, bool make) {
  Folder here;
  if (!lower_ && !HasParentPart(path)) {
    // Most names lead straight to a folder that is there.
    auto straight = OpenStraight(root_.get(), std::string(path), O_RDONLY | O_DIRECTORY);
    if (straight.ok()) {
      here.fd = std::move(*straight);
      here.path = path;
      return here;
    }
  }
  std::vector<std::string> todo;
  PushParts(todo, path);
  auto start_over = [&]() -> Status {
    STARLING_ASSIGN(root, OpenStraight(root_.get(), "", O_RDONLY | O_DIRECTORY));
    here = Folder{std::move(root), "", false};
    return {};
  };
  STARLING_TRY(start_over());
  int links = 0;
  int depth = 0;
  for (int steps = 0; !todo.empty(); steps++) {
    if (steps > kStepsMax) return Error{"too many steps on the way", ELOOP};
    std::string name = std::move(todo.back());
    todo.pop_back();
    if (name == "..") {
      size_t slash = here.path.rfind('/');
      PushParts(todo, slash == std::string::npos ? "" : here.path.substr(0, slash));
      STARLING_TRY(start_over());
      depth = 0;
      continue;
    }
    if (++depth > kDepthMax) return Error{"folders nested more than " + std::to_string(kDepthMax) + " deep", ELOOP};
    if (here.path.size() + name.size() > kPathMax) return Error{"path too long", ENAMETOOLONG};
    UniqueFd next(openat(here.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    bool was_whiteout = false;
    std::string target;
    if (!next && (errno == ELOOP || errno == ENOTDIR)) {
      struct stat info;
      if (fstatat(here.fd.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("stat", name);
      if (S_ISLNK(info.st_mode)) {
        STARLING_ASSIGN(text, ReadLink(here.fd.get(), name.c_str()));
        target = std::move(text);
      } else if (IsWhiteout(info) && make) {
        if (unlinkat(here.fd.get(), name.c_str(), 0) != 0) return Error::Errno("unlink", name);
        was_whiteout = true;
      } else {
        return Error{"`" + Joined(here.path, name) + "` is not a folder", ENOTDIR};
      }
    } else if (!next && errno != ENOENT) {
      return Error::Errno("open", Joined(here.path, name));
    }
    if (!next && target.empty()) {
      UniqueFd lower = was_whiteout ? UniqueFd() : LookBelow(here, name);
      if (lower) {
        struct stat info;
        if (fstat(lower.get(), &info) != 0) return Error::Errno("stat", name);
        if (S_ISLNK(info.st_mode)) {
          STARLING_ASSIGN(text, ReadLink(lower.get(), ""));
          target = std::move(text);
        } else if (!S_ISDIR(info.st_mode)) {
          return Error{"`" + Joined(here.path, name) + "` is not a folder", ENOTDIR};
        }
      } else if (!make && !was_whiteout) {
        return Error{"`" + Joined(here.path, name) + "` does not exist", ENOENT};
      }
      if (target.empty()) {
        STARLING_ASSIGN(made, Make(here, name, lower.get()));
        if (was_whiteout) STARLING_TRY(MakeOpaque(made.get()));
        next = std::move(made);
      }
    }
    if (!target.empty()) {
      if (++links > kLinksMax) return Error{"too many links on the way", ELOOP};
      depth--;
      PushParts(todo, target);
      if (target[0] == '/') {
        STARLING_TRY(start_over());
        depth = 0;
      }
      continue;
    }
    here.path = Joined(here.path, name);
    here.hides_lower = here.hides_lower || (lower_ && IsOpaque(next.get()));
    here.fd = std::move(next);
  }
  return here;
}

}  // namespace starling
