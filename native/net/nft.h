// nftables by libnftables, in the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <string>

namespace starling::net {

struct NftResult {
  bool ok = false;
  std::string output;  // what `nft` would print
  std::string error;   // what `nft` would complain
};

// Runs `script` as `nft -f -` does: all of it or nothing. `json` prints listings as JSON. The library is loaded at the
// first call (libnftables.so.1) and keeps global state, so calls take turns. Throws std::runtime_error without it.
//
// Closing a context waits until the kernel has freed what its last transactions replaced (10 ms and more). So a context
// is kept under the name `session` (if not empty) and used again by later calls of that name, in whatever namespace the
// first was made; it keeps that namespace alive until CloseNft, and 128 KiB, but nothing of the namespace's tables.
NftResult RunNft(const std::string& script, bool json, const std::string& session);

// Ends a session, if there is one of that name. May wait, see above.
void CloseNft(const std::string& session);

}  // namespace starling::net
