// SPDX-License-Identifier: BSD-2-Clause
#include "hook_lab.h"

int main(void)
{
	return run_hook_cases("hook", XDV_HOOK_XDP);
}
