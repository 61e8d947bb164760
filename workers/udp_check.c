// SPDX-License-Identifier: Apache-2.0
/* Whether a descriptor is a socket as workers/udp.c opens them. */
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workers/udp.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof value;
	return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

/* Of its network namespace; 0: a kernel before 5.14 does not say. */
static uint64_t namespace_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof cookie;
	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

static bool is_of_this_namespace(int fd)
{
	int own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool same = own < 0 || namespace_of(own) == namespace_of(fd);
	if (own >= 0)
		close(own);
	return same;
}

static bool address_fits(const struct udp_params *params, const struct udp_socket *socket)
{
	struct sockaddr_in6 bound;
	struct in6_addr wanted = in6addr_any;
	udp_address(socket, &bound);
	bool all_ipv4 = params->address.family == 0 && option(socket->fd, SOL_SOCKET, SO_DOMAIN) == AF_INET;
	if (params->address.family == 4 || all_ipv4) {
		memset(&wanted.s6_addr[10], 0xff, 2);
		memcpy(&wanted.s6_addr[12], params->address.bytes, 4);
	} else if (params->address.family == 6) {
		memcpy(&wanted, params->address.bytes, sizeof wanted);
	}
	bool port = params->port != 0 ? bound.sin6_port == htons(params->port) : bound.sin6_port != 0;
	return port && IN6_ARE_ADDR_EQUAL(&bound.sin6_addr, &wanted);
}

int udp_check(const struct udp_params *params, bool shared, int fd, struct error *error)
{
	const struct udp_socket socket = {.fd = fd};
	int family = option(fd, SOL_SOCKET, SO_DOMAIN);
	struct sockaddr_in6 other;
	socklen_t size = sizeof other;
	const char *wrong = NULL;
	if (option(fd, SOL_SOCKET, SO_TYPE) != SOCK_DGRAM || option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_UDP ||
	    (family != AF_INET6 && (family != AF_INET || params->address.family == 6)))
		wrong = "no UDP socket";
	else if (!is_of_this_namespace(fd))
		wrong = "of another network namespace";
	else if (getpeername(fd, (struct sockaddr *)&other, &size) == 0)
		wrong = "connected";
	else if (!address_fits(params, &socket))
		wrong = "another address or port";
	else if (option(fd, SOL_SOCKET, SO_REUSEPORT) != (shared ? 1 : 0))
		wrong = shared ? "not of a group" : "of a group";
	else if (family == AF_INET6 && params->address.family == 0 && option(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0)
		wrong = "without IPv4";
	return wrong == NULL ? 0 : error_set(error, -EPROTO, "%s", wrong);
}
