"""From a store and a method to what students learn."""
