// SPDX-License-Identifier: Apache-2.0
#include "core/client/context.h"

#include <stdarg.h>
#include <stdio.h>

void client_give_up(struct client *client, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	if (client->failure.text[0] == '\0')
		(void)vsnprintf(client->failure.text, sizeof client->failure.text, format, arguments);
	va_end(arguments);
	client->daemon.finish = true;
}
