// Raw netlink conversations in the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace starling::net {

// The kernel's answer to one request message.
struct Answer {
  int error = 0;           // 0, or a positive errno
  std::string explanation;  // the kernel's extended acknowledgement, when it gave one
};

struct Conversation {
  std::vector<Answer> answers;   // one per request message, in order
  std::vector<uint8_t> replies;  // every data message received, back to back, each with its nlmsghdr
};

// Sends the messages of `requests` (back to back, each padded to 4 bytes, nlmsg_len set) one after another and reads the
// answers. Every message must carry NLM_F_ACK or be a dump; sequence numbers are set here. A dump that the kernel marks
// as interrupted (NLM_F_DUMP_INTR) answers EINTR. Throws std::runtime_error when the conversation itself fails.
//
// Closing a socket of NETLINK_NETFILTER waits, like nft's (nft.h), for the kernel's clean-up. So one that went well is kept
// under the name `session` (if not empty) for the next conversation of that name and protocol, in whatever namespace the
// first was; it keeps that namespace alive until CloseConversations.
Conversation Converse(int protocol, std::span<const uint8_t> requests, const std::string& session = "");

// Ends what is kept under that name. May wait, see above.
void CloseConversations(const std::string& session);

// What has been received of the answer to the request `sequence`.
struct Receipt {
  uint32_t sequence = 0;
  bool interrupted = false;      // part of a dump was marked NLM_F_DUMP_INTR
  std::vector<uint8_t> replies;  // the data messages so far
};

// Takes the messages of one datagram that belong to `receipt.sequence`; the answer once it is complete. Pure. What is too
// short for what it claims to be is passed over, or, where it claims to be the end, an answer of EBADMSG.
std::optional<Answer> TakeDatagram(std::span<const uint8_t> datagram, Receipt& receipt);

}  // namespace starling::net
