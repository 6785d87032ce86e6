#include "../runtime/sync_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "check.h"

namespace starling {
namespace {

// A text with `count` descriptors, sent otherwise than SendMessage does.
void SendDescriptors(int socket, unsigned count) {
  char text[] = "T";
  iovec part = {text, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)] = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* item = CMSG_FIRSTHDR(&header);
  item->cmsg_level = SOL_SOCKET;
  item->cmsg_type = SCM_RIGHTS;
  item->cmsg_len = CMSG_LEN(sizeof(int) * count);
  int fds[4] = {2, 2, 2, 2};
  std::memcpy(CMSG_DATA(item), fds, sizeof(int) * count);
  CHECK_EQ(sendmsg(socket, &header, 0), ssize_t{1});
}

int FirstFreeDescriptor() {
  int fd = dup(2);
  close(fd);
  return fd;
}

TEST(sync_socket_leaves_no_descriptor_open_that_nobody_owns) {
  for (unsigned count : {1U, 2U, 3U, 4U}) {
    auto pair = MakeSyncPair();
    CHECK(pair.ok());
    SendDescriptors(pair->parent.get(), count);
    int before = FirstFreeDescriptor();
    {
      auto message = ReceiveMessage(pair->child.get());
      CHECK(message.ok());
      CHECK_EQ(message->text, "T");
      CHECK(message->attached.valid());
    }
    CHECK_EQ(FirstFreeDescriptor(), before);
  }
}

}  // namespace
}  // namespace starling
