"""Raw data sets (digits, CIFAR, folders of images) and how they become the prepared one."""
