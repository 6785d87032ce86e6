#include "copy_up.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <memory>
#include <string>

#include "../sys/unique_fd.h"

namespace starling::oci {
namespace {

constexpr int kDepthMax = 64;

struct DirectoryCloser {
  void operator()(DIR* directory) const { closedir(directory); }
};

Status CopyTree(int from, int to, int depth);

Status CopyFile(int from, int to, const char* name, const struct stat& info) {
  UniqueFd source(openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!source) return Error::Errno("open", name);
  UniqueFd target(openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!target) return Error::Errno("create", name);
  for (ssize_t count; (count = sendfile(target.get(), source.get(), nullptr, 1 << 20)) != 0;) {
    if (count < 0) return Error::Errno("copy", name);
  }
  if (fchown(target.get(), info.st_uid, info.st_gid) != 0) return Error::Errno("chown", name);
  if (fchmod(target.get(), info.st_mode & 07777) != 0) return Error::Errno("chmod", name);
  return {};
}

Status CopyEntry(int from, int to, const char* name, int depth) {
  struct stat info;
  if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("stat", name);
  if (S_ISREG(info.st_mode)) return CopyFile(from, to, name, info);
  if (S_ISDIR(info.st_mode)) {
    UniqueFd source(openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!source) return Error::Errno("open", name);
    if (mkdirat(to, name, 0700) != 0) return Error::Errno("mkdir", name);
    UniqueFd target(openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!target) return Error::Errno("open", name);
    STARLING_TRY(CopyTree(source.get(), target.get(), depth + 1));
  } else if (S_ISLNK(info.st_mode)) {
    char link[PATH_MAX];
    ssize_t length = readlinkat(from, name, link, sizeof link - 1);
    if (length < 0) return Error::Errno("readlink", name);
    link[length] = 0;
    if (symlinkat(link, to, name) != 0) return Error::Errno("symlink", name);
  } else if (mknodat(to, name, info.st_mode, info.st_rdev) != 0) {
    return Error::Errno("mknod", name);
  }
  if (fchownat(to, name, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return Error::Errno("chown", name);
  if (!S_ISLNK(info.st_mode) && fchmodat(to, name, info.st_mode & 07777, 0) != 0) return Error::Errno("chmod", name);
  return {};
}

Status CopyTree(int from, int to, int depth) {
  if (depth > kDepthMax) return Error::Errno("copy", "folder", ELOOP);
  int listed = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listed < 0) return Error::Errno("open", "folder");
  std::unique_ptr<DIR, DirectoryCloser> directory(fdopendir(listed));
  if (directory == nullptr) return Error::Errno("fdopendir", "folder");
  while (const dirent* entry = readdir(directory.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") STARLING_TRY(CopyEntry(from, to, name.c_str(), depth));
  }
  return {};
}

}  // namespace

Status CopyFolder(int from, int to) { return CopyTree(from, to, 0); }

}  // namespace starling::oci
