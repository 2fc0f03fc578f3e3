#!/bin/sh
# Takes out of an environment what outlining a liver on a CPU never loads: trim.sh ENVIRONMENT. For an
# image that is being built, not for an environment in which packages are installed or tested.
set -eu
cd "$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Other people's tests, and what only building against PyTorch needs. The program that is kept is
# looked for when torch is imported.
find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
rm -rf torch/include torch/share
find torch/bin -mindepth 1 ! -name torch_shm_manager -delete
find torch/lib -name '*_test.so' -delete
find . -type f \( -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.pxd' -o -name '*.pyx' \) -delete

# OpenVINO for GPUs and NPUs (on a GPU PyTorch runs), and its readers of other programs' models.
rm -f openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu_plugin.so
rm -f openvino/libs/cache.json
for form in onnx tensorflow tensorflow_lite paddle gguf jax; do
  rm -f "openvino/libs/libopenvino_${form}_frontend.so".*
done

# Nothing is installed any more.
rm -rf pip pip-*.dist-info setuptools setuptools-*.dist-info _distutils_hack distutils-precedence.pth

# Symbols for a debugger. Each file is replaced, never written into: it may be linked elsewhere. Not
# of libraries that their wheel's maker has patched (numpy.libs): those do not load any more then.
if command -v strip >/dev/null; then
  for library in torch/lib/libtorch*.so cc3d/*.so fill_voids/*.so fontTools/*/*.so \
    _CharLS.*.so _libjpeg.*.so _openjpeg.*.so; do
    strip --strip-unneeded -o "$library.part" "$library"
    mv "$library.part" "$library"
  done
fi

# It is made again of what is loaded, when something is.
find . -type d -name __pycache__ -prune -exec rm -rf {} +
