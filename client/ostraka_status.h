/* In the source tree the codes are those of base/status.h, which is installed under this name. */
#pragma once
#include "base/status.h"
