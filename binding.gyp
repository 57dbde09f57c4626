{
  'targets': [
    {
      'target_name': 'selvage',
      'sources': [
        'native/addon.cc',
        'native/lane.cc',
        'native/tun.cc',
        'native/udp.cc',
        'native/udp_sender.cc',
        'native/path_mtu.cc',
        'native/notify.cc',
        'native/peer_filter.cc',
        'native/steering.cc',
        'native/set_up_error.cc',
        'native/segment.cc',
        'native/fragment.cc',
        'native/coalesce.cc',
        'native/checksum.cc'
      ],
      'defines': ['NAPI_VERSION=8', '_GNU_SOURCE'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Wsign-compare', '-Wconversion', '-Werror', '-fvisibility=hidden'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-exceptions', '-fno-rtti'],
      'cflags_cc': ['-std=c++20', '-fexceptions']
    }
  ]
}
