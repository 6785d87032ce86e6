#include "fs.h"

#include <cstdio>
#include <sys/stat.h>

namespace starling::fs {

Result<UniqueFd> Open(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return Error::Errno("open", path);
  return fd;
}

namespace {

Result<std::string> ReadAll(const UniqueFd& fd, const std::string& path, size_t limit) {
  std::string text;
  char buffer[4096];
  for (;;) {
    ssize_t count = read(fd.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::Errno("read", path);
    if (count == 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > limit) return Error::Errno("read", path, EFBIG);
  }
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, size_t limit) {
  STARLING_ASSIGN(fd, Open(path, O_RDONLY));
  return ReadAll(fd, path, limit);
}

Result<std::string> ReadRegularFile(const std::string& path, size_t limit) {
  // Looked at before it is opened: opening a device may do something already.
  STARLING_ASSIGN(place, Open(path, O_PATH));
  struct stat info;
  if (fstat(place.get(), &info) != 0) return Error::Errno("stat", path);
  if (!S_ISREG(info.st_mode)) return Error{"`" + path + "` is no regular file", EINVAL};
  STARLING_ASSIGN(fd, Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat opened;
  if (fstat(fd.get(), &opened) != 0) return Error::Errno("stat", path);
  if (opened.st_ino != info.st_ino || opened.st_dev != info.st_dev) return Error{"`" + path + "` was replaced meanwhile", EAGAIN};
  return ReadAll(fd, path, limit);
}

Status WriteControl(const std::string& path, std::string_view text) {
  STARLING_ASSIGN(fd, Open(path, O_WRONLY));
  if (write(fd.get(), text.data(), text.size()) < 0) {
    int number = errno;
    return Error::Errno("write " + std::string(text) + " to", path, number);
  }
  return {};
}

Status WriteAll(int fd, std::string_view text, std::string_view name) {
  while (!text.empty()) {
    ssize_t count = write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::Errno("write", name);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Status ReplaceFile(const std::string& path, std::string_view text, mode_t mode) {
  std::string temporary = path + ".tmp";
  {
    STARLING_ASSIGN(fd, Open(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    STARLING_TRY(WriteAll(fd.get(), text, temporary));
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return Error::Errno("rename", path);
  return {};
}

Status MakeFolders(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  if (errno != ENOENT) return Error::Errno("mkdir", path);
  if (path.find('/') == std::string::npos || path == "/") return Error::Errno("mkdir", path, ENOENT);
  STARLING_TRY(MakeFolders(Parent(path), mode));
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return Error::Errno("mkdir", path);
  return {};
}

std::string Parent(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace starling::fs
