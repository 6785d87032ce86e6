// User and group names as the image's own /etc/passwd and /etc/group define them. The files are the image's, hence
// untrusted: parsed here, inside the container's namespaces, never by the node's name service.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"

namespace starling {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  // Home folder; "/" when the passwd file does not know the user.
  std::string home = "/";
};

// `user`: "", "user", "user:group"; names or numbers. Without a group: the user's own of passwd, and all groups that
// list the user as a member. `more_groups` are added. Unknown names are errors, unknown numbers are not.
Result<Identity> ResolveUser(std::string_view user, const std::vector<std::string>& more_groups,
                             std::string_view passwd_text, std::string_view group_text);

}  // namespace starling
