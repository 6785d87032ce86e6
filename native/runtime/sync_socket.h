// Whole messages between parent and child, optionally with one descriptor.
#pragma once

#include <string>
#include <string_view>

#include "../base/result.h"
#include "../sys/unique_fd.h"

namespace starling {

struct SyncPair {
  UniqueFd parent;
  UniqueFd child;
};
Result<SyncPair> MakeSyncPair();

Status SendMessage(int socket, std::string_view message, int attached_fd = -1);

struct Message {
  // Empty: the other side has closed.
  std::string text;
  UniqueFd attached;
};
// Waits at most `timeout_ms`, then ETIMEDOUT; -1: for ever.
Result<Message> ReceiveMessage(int socket, int timeout_ms = -1);

}  // namespace starling
