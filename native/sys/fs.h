// Files and folders: whole-file reads and writes, folders made and removed. Every descriptor is close-on-exec.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"
#include "unique_fd.h"

namespace starling::fs {

// Opens with O_CLOEXEC.
Result<UniqueFd> Open(const std::string& path, int flags, mode_t mode = 0);

// At most `limit` bytes; a longer file is an error (EFBIG).
Result<std::string> ReadFile(const std::string& path, size_t limit = 4 << 20);

// The same of a file that a container may have put there: only a regular file is read (else EINVAL), so a pipe, socket or
// device in its place holds nobody up.
Result<std::string> ReadRegularFile(const std::string& path, size_t limit);

// One write to an existing file: what kernel control files want.
Status WriteControl(const std::string& path, std::string_view text);

// Writes all of `text`, going on after short writes.
Status WriteAll(int fd, std::string_view text, std::string_view name);

// Replaces `path` in one step (temporary file beside it, then rename). Readers see the old or the new content. Not
// synced to the disk: survives the end of this process, not a power cut.
Status ReplaceFile(const std::string& path, std::string_view text, mode_t mode);

// mkdir -p. Existing folders are left as they are.
Status MakeFolders(const std::string& path, mode_t mode = 0755);

// Name of the folder above; "/" for a top one.
std::string Parent(std::string_view path);

std::vector<std::string_view> Split(std::string_view text, char separator);

}  // namespace starling::fs
