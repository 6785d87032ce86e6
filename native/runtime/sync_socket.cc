#include "sync_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>

namespace starling {

Result<SyncPair> MakeSyncPair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return Error::Errno("socketpair", "");
  return SyncPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Status SendMessage(int socket, std::string_view message, int attached_fd) {
  iovec part = {const_cast<char*>(message.data()), message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (attached_fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(item), &attached_fd, sizeof(int));
  }
  if (sendmsg(socket, &header, MSG_NOSIGNAL) < 0) return Error::Errno("sendmsg", "");
  return {};
}

Result<Message> ReceiveMessage(int socket, int timeout_ms) {
  if (timeout_ms >= 0) {
    pollfd item = {socket, POLLIN, 0};
    int ready;
    do {
      ready = poll(&item, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return Error::Errno("poll", "");
    if (ready == 0) return Error::Errno("recvmsg", "", ETIMEDOUT);
  }
  char buffer[4096];
  iovec part = {buffer, sizeof buffer};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  // A peer that died with our message unread resets the connection: closed all the same.
  if (count < 0 && errno == ECONNRESET) count = 0;
  if (count < 0) return Error::Errno("recvmsg", "");
  Message message;
  message.text.assign(buffer, static_cast<size_t>(count));
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    // More than one fits beside the padding: none stays open without an owner.
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= item->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, reinterpret_cast<const char*>(item) + at, sizeof fd);
      UniqueFd owned(fd);
      if (!message.attached) message.attached = std::move(owned);
    }
  }
  return message;
}

}  // namespace starling
