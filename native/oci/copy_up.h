// Copies a folder's contents, owners, modes and times of link targets included: for tmpfs mounts with `tmpcopyup`.
#pragma once

#include "../base/result.h"

namespace starling::oci {

// `from` and `to`: descriptors of folders, O_PATH will do. Devices, sockets and fifos are made anew; links stay links.
Status CopyFolder(int from, int to);

}  // namespace starling::oci
