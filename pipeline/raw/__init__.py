"""Raw data sets to the prepared set: digits, CIFAR, folders of images."""
