#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <memory>

#include "../sys/fs.h"
#include "internal.h"

namespace starling::rootfs {
namespace {

// Two descriptors a level: an image that nests deeper is refused before descriptors run out.
constexpr int kDepthMax = 200;
constexpr size_t kBlock = 1 << 20;

using Folder = std::unique_ptr<DIR, int (*)(DIR*)>;

// A listing of `fd` from its start; `fd` stays the caller's.
Result<Folder> List(int fd, const std::string& name) {
  int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = own < 0 ? nullptr : fdopendir(own);
  if (listing == nullptr) {
    Error error = Error::Errno("list", name);
    if (own >= 0) close(own);
    return error;
  }
  return Folder(listing, closedir);
}

bool IsDot(const char* name) { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

// Extended attributes of `from` onto `to`: capabilities of files, ACLs, what users set. One that the other file system
// does not take is left out.
void CopyAttributes(const std::string& from, const std::string& to) {
  char names[16 << 10];
  ssize_t length = llistxattr(from.c_str(), names, sizeof names);
  for (ssize_t at = 0; at < length;) {
    const char* name = names + at;
    at += static_cast<ssize_t>(std::string_view(name).size()) + 1;
    char value[4096];
    ssize_t size = lgetxattr(from.c_str(), name, value, sizeof value);
    if (size >= 0) (void)lsetxattr(to.c_str(), name, value, static_cast<size_t>(size), 0);
  }
}

std::string Below(int folder, const char* leaf) { return "/proc/self/fd/" + std::to_string(folder) + "/" + leaf; }

Status CopyContent(int from, int to, const char* leaf, const std::string& name) {
  UniqueFd in(openat(from, leaf, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!in) return Error::Errno("open", name);
  UniqueFd out(openat(to, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out) return Error::Errno("create", name);
  std::unique_ptr<char[]> block;
  for (;;) {
    ssize_t moved = block ? -1 : copy_file_range(in.get(), nullptr, out.get(), nullptr, kBlock, 0);
    if (moved == 0) return {};
    if (moved > 0) continue;
    if (!block && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
      return Error::Errno("copy", name);
    }
    if (!block) block = std::make_unique<char[]>(kBlock);
    ssize_t count = read(in.get(), block.get(), kBlock);
    if (count < 0) return Error::Errno("read", name);
    if (count == 0) return {};
    STARLING_TRY(fs::WriteAll(out.get(), std::string_view(block.get(), static_cast<size_t>(count)), name));
  }
}

Status CopyLink(int from, int to, const char* leaf, const std::string& name) {
  char target[4097];
  ssize_t length = readlinkat(from, leaf, target, sizeof target - 1);
  if (length < 0) return Error::Errno("readlink", name);
  target[length] = 0;
  if (symlinkat(target, to, leaf) != 0) return Error::Errno("symlink", name);
  return {};
}

Status CopyBelow(int from, int to, const std::string& name, int depth);

// Owner, mode, attributes and times of what was just made. chown clears set-id bits: the mode comes after it.
Status CopyMetadata(int from, int to, const char* leaf, const struct stat& info, const std::string& name) {
  if (fchownat(to, leaf, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  if (!S_ISLNK(info.st_mode) && fchmodat(to, leaf, info.st_mode & 07777, 0) != 0) return Error::Errno("chmod", name);
  CopyAttributes(Below(from, leaf), Below(to, leaf));
  const timespec times[2] = {info.st_atim, info.st_mtim};
  (void)utimensat(to, leaf, times, AT_SYMLINK_NOFOLLOW);
  return {};
}

Status CopyEntry(int from, int to, const char* leaf, const std::string& name, int depth) {
  struct stat info;
  if (fstatat(from, leaf, &info, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("stat", name);
  if (S_ISDIR(info.st_mode)) {
    if (mkdirat(to, leaf, 0700) != 0) return Error::Errno("mkdir", name);
    UniqueFd below_from(openat(from, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    UniqueFd below_to(openat(to, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!below_from || !below_to) return Error::Errno("open", name);
    STARLING_TRY(CopyBelow(below_from.get(), below_to.get(), name, depth + 1));
  } else if (S_ISREG(info.st_mode)) {
    STARLING_TRY(CopyContent(from, to, leaf, name));
  } else if (S_ISLNK(info.st_mode)) {
    STARLING_TRY(CopyLink(from, to, leaf, name));
  } else if (mknodat(to, leaf, info.st_mode & (S_IFMT | 0777), info.st_rdev) != 0) {
    return Error::Errno("mknod", name);
  }
  return CopyMetadata(from, to, leaf, info, name);
}

Status CopyBelow(int from, int to, const std::string& name, int depth) {
  if (depth > kDepthMax) return Error{"fill volume: `" + name + "` is nested deeper than 200 folders", ELOOP};
  STARLING_ASSIGN(listing, List(from, name));
  while (dirent* entry = readdir(listing.get())) {
    if (IsDot(entry->d_name)) continue;
    STARLING_TRY(CopyEntry(from, to, entry->d_name, name + "/" + entry->d_name, depth));
  }
  return {};
}

}  // namespace

Status FillFolder(int from, int to, const std::string& name) {
  STARLING_ASSIGN(listing, List(to, name));
  while (dirent* entry = readdir(listing.get())) {
    if (!IsDot(entry->d_name)) return {};
  }
  struct stat info;
  if (fstat(from, &info) != 0) return Error::Errno("stat", name);
  STARLING_TRY(CopyBelow(from, to, name, 0));
  return CopyMetadata(from, to, ".", info, name);
}

}  // namespace starling::rootfs
