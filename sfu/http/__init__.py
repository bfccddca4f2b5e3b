"""The page and the few HTTP resources around it. Never touches media or rooms; it is told what to show."""
