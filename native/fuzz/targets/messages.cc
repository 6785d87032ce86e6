// Requests to a shim, and messages with descriptors between it and what it starts.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "../../base/base64.h"
#include "../../runtime/sync_socket.h"
#include "../../shim/requests.h"
#include "input.h"

namespace starling::fuzz {
namespace {

void TryRequest(std::string_view line) {
  Request request = ParseRequest(line);
  Require(request.id >= 0, "a request's number is none below 0");
  if (!request.fault.ok()) return;
  ProcessSpec container;
  container.args = {"sh"};
  container.seccomp_program = std::string(8, '\6');
  auto process = ExecProcess(request.value, container);
  if (process.ok()) Require(!process->args.empty() && process->cwd.starts_with('/'), "a process has a program and a folder");
  winsize size = WindowSize(request.value);
  Require(size.ws_row >= 1 && size.ws_col >= 1, "a window has a size");
  (void)IntMember(request.value, "timeoutMs", 0);
  if (const json::Value* data = request.value.Find("data")) (void)DecodeBase64(data->string).ok();
}

int FirstFreeDescriptor() {
  int fd = dup(0);
  close(fd);
  return fd;
}

// `count` descriptors beside the text, whoever sent them and however many: none stays open unseen.
void TryMessage(std::string_view text, unsigned count) {
  auto pair = MakeSyncPair();
  Require(pair.ok(), "a pair of sockets can be made");
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)] = {};
  iovec part = {const_cast<char*>(text.data()), text.size()};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (count > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int) * count);
    int fds[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    std::memcpy(CMSG_DATA(item), fds, sizeof(int) * count);
  }
  if (sendmsg(pair->parent.get(), &header, MSG_DONTWAIT) < 0) return;
  pair->parent.reset();
  int before = FirstFreeDescriptor();
  {
    auto message = ReceiveMessage(pair->child.get());
    Require(message.ok(), "a message can be taken");
    Require(text.substr(0, message->text.size()) == message->text, "its text is what was sent");
    Require(message->attached.valid() == (count > 0), "a descriptor that was sent is there");
    if (message->attached) Require((fcntl(message->attached.get(), F_GETFD) & FD_CLOEXEC) != 0, "it is closed on exec");
  }
  Require(FirstFreeDescriptor() == before, "no descriptor stays open");
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  unsigned way = input.Choice(16);
  if (way < 9) fuzz::TryMessage(input.Rest(), way);
  else fuzz::TryRequest(input.Rest());
  return 0;
}
