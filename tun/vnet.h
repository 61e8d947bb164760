// SPDX-License-Identifier: Apache-2.0
/* The virtio-net header in front of each frame of a TUN device with IFF_VNET_HDR (virtio 1.2, section 5.1.6), and the
 * numbers that Debian 12's kernel headers do not have yet. Fields are in host byte order (TUNSETVNETLE is not set). */
#pragma once

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* UDP segmentation, Linux 6.2 */
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
	VNET_HEADER_SIZE = sizeof(struct virtio_net_hdr), /* 10 */
	TUN_PACKET_MAX = 65535,				  /* an IP packet, super-packets included */
	TUN_FRAME_MAX = VNET_HEADER_SIZE + TUN_PACKET_MAX,
};
